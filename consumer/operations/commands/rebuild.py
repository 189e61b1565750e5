"""`eventsourcing-kafka consumer rebuild`: fills a new generation of a view, and swaps."""

from __future__ import annotations

from typing import Annotated

import typer

from eventsourcing_kafka.consumer.operations.commands import messages
from eventsourcing_kafka.consumer.operations.commands.stores import (
    PipelineFile,
    SystemTopic,
    ViewName,
    opened_store,
    settings_with,
)
from eventsourcing_kafka.consumer.operations.rebuild import Rebuild, RebuildProgress
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.cli import finished, progress_console
from eventsourcing_kafka.producer.runtime.logs import LogFormat, LogFormatOption, start_logs
from eventsourcing_kafka.producer.runtime.output import AsJson, Yes, confirm, tell
from eventsourcing_kafka.producer.runtime.progress_bar import progress_bar


def rebuild(
    view: ViewName,
    keep: Annotated[bool, typer.Option(help="Keep the old generation, for --swap-back.")] = False,
    swap_back: Annotated[bool, typer.Option(help="Return to the kept generation.")] = False,
    anew: Annotated[
        bool, typer.Option(help="Do not go on with what an interrupted rebuild has filled.")
    ] = False,
    system: SystemTopic = None,
    file: PipelineFile = None,
    yes: Yes = False,
    as_json: AsJson = False,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Fill a new generation of a view beside the active one, and swap them.

    Searches go on against the old one until the swap. If it fails, or is interrupted, the
    active one is as it was, and the next rebuild goes on. What may record events of its own, as
    the applications of a system do, is refused.

    Example: eventsourcing-kafka consumer rebuild shop.views:ORDERS --keep
    """
    start_logs(log_format)
    settings = KafkaSettings.from_env(settings_with(file))
    with opened_store(view, system, file) as store:
        name, job = store.view.name, Rebuild(store, settings)
    if swap_back:
        confirm(messages.may_swap_back(name), yes=yes)
        finished(job.swap_back)
        done = messages.swapped_back(name)
    else:
        if not keep:
            confirm(messages.may_rebuild(name), yes=yes)
        _rebuild(job, name, keep=keep, anew=anew)
        done = messages.rebuilt(name)
    tell(done, {"view": name, "swapped_back": swap_back}, as_json=as_json)


def _rebuild(job: Rebuild, view: str, *, keep: bool, anew: bool) -> None:
    with progress_bar(progress_console()) as bar:
        task = bar.add_task(f"rebuilding {view}", total=None)

        def report(progress: RebuildProgress) -> None:
            total = progress.records + progress.gap
            bar.update(task, completed=progress.records, total=total)

        try:
            finished(lambda: job.run(report, keep=keep, anew=anew))
        except typer.Exit:
            typer.echo("interrupted: the next rebuild goes on from here", err=True)
            raise
