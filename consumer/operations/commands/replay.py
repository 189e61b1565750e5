"""`eventsourcing-kafka consumer replay`: has a view applied again from the start."""

from __future__ import annotations

from typing import Annotated

import typer

from eventsourcing_kafka.consumer.operations.commands import messages
from eventsourcing_kafka.consumer.operations.commands.stores import (
    PipelineFile,
    SystemTopic,
    ViewName,
    opened_store,
)
from eventsourcing_kafka.consumer.operations.replay import applied_records, replay_view
from eventsourcing_kafka.producer.runtime.cli import finished
from eventsourcing_kafka.producer.runtime.output import AsJson, Yes, confirm, tell


def replay(
    view: ViewName,
    partition: Annotated[
        list[int] | None, typer.Option(help="Only this one; may be given several times.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only tell how many events it means.")] = False,
    system: SystemTopic = None,
    file: PipelineFile = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget what a view has applied, and have it applied again from the start.

    Running consumers notice, and start over; meanwhile the view is incomplete. To keep it
    whole for those who search it, rebuild it instead. What may record events of its own, as
    the applications of a system do, is refused.

    Example: eventsourcing-kafka consumer replay shop.views:ORDERS --dry-run
    """
    with opened_store(view, system, file) as store:
        name = store.view.name
        found = finished(lambda: applied_records(store, partition))
        if not dry_run:
            confirm(messages.may_replay(name, found), yes=yes)
            finished(lambda: replay_view(store, partition))
    would = f"{name}: {messages.counted(found)} would be applied again"
    facts = {"view": name, "records": found, "dry_run": dry_run}
    tell(would if dry_run else messages.replayed(name, found), facts, as_json=as_json)
