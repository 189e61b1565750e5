"""`eventsourcing-kafka consumer replay`: has a view applied again from the start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.operations.commands import messages
from eventsourcing_kafka.consumer.operations.commands.stores import (
    SystemTopic,
    ViewName,
    opened_store,
)
from eventsourcing_kafka.consumer.operations.history import History
from eventsourcing_kafka.consumer.operations.one_aggregate import (
    ReplayedAggregate,
    aggregate_events,
    replay_aggregate,
)
from eventsourcing_kafka.consumer.operations.replay import applied_records, replay_view
from eventsourcing_kafka.producer.runtime.cli import finished
from eventsourcing_kafka.producer.runtime.output import AsJson, Yes, confirm, tell
from eventsourcing_kafka.producer.runtime.pipeline import PipelineFile, settings_with


def replay(
    view: ViewName,
    partition: Annotated[
        list[int] | None, typer.Option(help="Only this one; may be given several times.")
    ] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only this one, from the write model; it stays readable."),
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

    With --aggregate the rows of one aggregate go and are made again in one transaction, from its
    events in the write model, whose settings are the application's (SHOP_POSTGRES_DBNAME). What is
    parked of it is applied, or nothing has changed. A view says what its rows are by
    aggregate_columns and subtract.

    Example: eventsourcing-kafka consumer replay shop.views:ORDERS --dry-run

    Example: eventsourcing-kafka consumer replay shop.views:ORDERS --aggregate 0f3c…
    """
    if aggregate is not None and partition:
        raise typer.BadParameter("An aggregate is in one partition: leave --partition out.")
    with opened_store(view, system, file) as store:
        name = store.view.name
        if aggregate is not None:
            env = settings_with(file)
            _replay_one(store, env, aggregate, dry_run=dry_run, yes=yes, as_json=as_json)
            return
        found = finished(lambda: applied_records(store, partition))
        if not dry_run:
            confirm(messages.may_replay(name, found), yes=yes)
            finished(lambda: replay_view(store, partition))
    would = f"{name}: {messages.counted(found)} would be applied again"
    facts = {"view": name, "records": found, "dry_run": dry_run}
    tell(would if dry_run else messages.replayed(name, found), facts, as_json=as_json)


def _replay_one(
    store: Store, env: Mapping[str, str], aggregate: str, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    name = store.view.name

    async def count() -> int:
        async with History.of(store.view, env) as history:
            return await aggregate_events(store, history, aggregate)

    async def replay_it() -> ReplayedAggregate:
        async with History.of(store.view, env) as history:
            return await replay_aggregate(store, history, aggregate)

    events, parked = finished(count), 0
    if not dry_run:
        confirm(messages.may_replay_aggregate(name, aggregate, events), yes=yes)
        events, parked = finished(replay_it)
    would = f"{name}: {events} events of {aggregate} would be applied again"
    done = messages.replayed_aggregate(name, aggregate, events, parked)
    facts = {"view": name, "aggregate": aggregate, "events": events, "parked": parked}
    tell(would if dry_run else done, {**facts, "dry_run": dry_run}, as_json=as_json)
