"""The commands that run views, and show and change how far they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Self

import anyio
import msgspec
import typer
from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.commands import asking
from eventsourcing_kafka.consumer.operations.commands.stores import (
    SystemTopic,
    opened_store,
    opened_stores,
)
from eventsourcing_kafka.consumer.operations.commands.watch import watch
from eventsourcing_kafka.consumer.operations.health import ViewHealth
from eventsourcing_kafka.consumer.operations.rebuild import Progress as RebuildProgress
from eventsourcing_kafka.consumer.operations.rebuild import Rebuild
from eventsourcing_kafka.consumer.operations.replay import applied_records, replay_view
from eventsourcing_kafka.consumer.operations.status import PartitionStatus, read_status
from eventsourcing_kafka.consumer.views.registry import view_named, views
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.cli import finished, progress_console
from eventsourcing_kafka.producer.runtime.health import Down, read_or_down
from eventsourcing_kafka.producer.runtime.logs import (
    LogFormat,
    LogFormatOption,
    complain,
    message_of,
    start_logs,
)
from eventsourcing_kafka.producer.runtime.metrics_server import (
    EVERYWHERE,
    MetricsHost,
    MetricsPort,
    listen,
    serving_metrics,
)
from eventsourcing_kafka.producer.runtime.output import AsJson, Yes, confirm, table_of, tell
from eventsourcing_kafka.producer.runtime.process import run as run_async
from eventsourcing_kafka.producer.runtime.progress_bar import progress_bar
from eventsourcing_kafka.producer.runtime.retry import first_error

COMMANDS = typer.Typer()


def _complete(incomplete: str) -> list[str]:
    return [name for name in views() if name.startswith(incomplete)]


ViewName = Annotated[
    str, typer.Argument(metavar="VIEW", help="Which view.", autocompletion=_complete)
]


@COMMANDS.command()
def run(
    names: Annotated[
        list[str], typer.Argument(metavar="VIEW…", help="Which views.", autocompletion=_complete)
    ],
    on_error: Annotated[
        OnError,
        typer.Option(
            help="An event that can't be applied is parked, with all of its aggregate after it; "
            "or its partition stops before it; or the view ends with the error."
        ),
    ] = OnError.PARK,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Records in one Postgres transaction, at most.")
    ] = 5000,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds that a batch in hand has when told to stop.")
    ] = 10.0,
    instance: Annotated[
        str | None,
        typer.Option(
            help="A name for this consumer that no other has and that it keeps over restarts: "
            "its partitions then wait for it (Kafka's static membership)."
        ),
    ] = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = EVERYWHERE,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Keep views up to date until it is stopped.

    Start it as often as you like, on any machine: the consumers of a view share its partitions.
    Views in one process have each their own group, transactions and failures.

    Example: eventsourcing-kafka consumer run fts activity

    Example: eventsourcing-kafka consumer run fts --metrics-port 9101
    """
    start_logs(log_format)
    listener = listen(metrics_port, metrics_host)
    settings = KafkaSettings.from_env(os.environ)
    consumers = {
        name: Consumer(
            _store(name),
            settings,
            on_error=on_error,
            limit=batch_size,
            grace=grace,
            instance=instance,
        )
        for name in dict.fromkeys(names)
    }
    failures: dict[str, Exception] = {}

    async def keep(name: str) -> None:
        try:
            await consumers[name].run()
        except Exception as error:  # noqa: BLE001 - the other views go on
            failures[name] = error
            complain(f"view {name} has ended: {message_of(first_error(error))}")

    async def main() -> None:
        parts = [ViewHealth(consumer, settings) for consumer in consumers.values()]
        async with serving_metrics(parts, listener), anyio.create_task_group() as running:
            for name in consumers:
                running.start_soon(keep, name, name=name)

    run_async(main)
    stopped = {name: consumer.stopped for name, consumer in consumers.items() if consumer.stopped}
    for name, reasons in stopped.items():
        for partition in reasons:
            complain(
                f"{name}, partition {partition} had stopped: "
                "eventsourcing-kafka consumer status says why"
            )
    if failures or stopped:
        raise typer.Exit(1)


@COMMANDS.command()
def status(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VIEW]…", help="Which views; all without.", autocompletion=_complete
        ),
    ] = None,
    system: SystemTopic = None,
    watching: Annotated[
        bool, typer.Option("--watch", help="Keep showing it, on a terminal, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far views are, partition by partition; exit with 1 if one has stopped.

    The gap is in Kafka offsets, the lag in seconds: the age of the oldest event not applied.

    Example: eventsourcing-kafka consumer status fts

    Example: eventsourcing-kafka consumer status --watch

    Example: eventsourcing-kafka consumer status --system examples.counters.system:system
    """
    settings = KafkaSettings.from_env(os.environ)

    async def read() -> list[PartitionStatus]:
        return [row for store in stores for row in await read_status(store, settings)]

    with opened_stores(names or (), system) as stores:
        console = Console()
        if watching and console.is_terminal and not as_json:
            finished(lambda: watch(lambda: read_or_down(read), _standing, console))
        rows = finished(read)
    if as_json:
        typer.echo(msgspec.json.encode(rows))
    else:
        console.print(_standing(rows))
    if any(row.stopped for row in rows):
        raise typer.Exit(1)


class Line(msgspec.Struct, frozen=True):
    """What a table shows of a partition: so much fits a terminal. JSON has it all."""

    partition: int
    position: int
    gap: int
    lag: float
    records: int
    parked: int
    dropped: int | None
    rebuild_gap: int | None
    stopped: str | None
    owner: str | None

    @classmethod
    def of(cls, row: PartitionStatus) -> Self:
        """Return the line of a partition."""
        return cls(
            row.partition,
            row.position,
            row.gap,
            row.lag_seconds,
            row.records,
            row.parked,
            row.dropped or None,
            row.rebuild_gap,
            row.stopped,
            row.owner,
        )


def _standing(found: Sequence[PartitionStatus] | Down) -> RenderableType:
    if isinstance(found, Down):
        return Text(f"down: {found.down}", "bold red")
    views = groupby(found, lambda row: row.view)
    return Group(*(_table(view, [Line.of(row) for row in rows]) for view, rows in views))


def _table(view: str, lines: Sequence[Line]) -> Table:
    table = table_of(lines, Line)
    table.title, table.title_justify, table.title_style = view, "left", "bold"
    table.box = SIMPLE
    return table


@COMMANDS.command()
def replay(
    view: ViewName,
    partition: Annotated[
        list[int] | None, typer.Option(help="Only this one; may be given several times.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only tell how many events it means.")] = False,
    system: SystemTopic = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget what a view has applied, and have it applied again from the start.

    Running consumers notice, and start over; meanwhile the view is incomplete. To keep it
    whole for those who search it, rebuild it instead. What may record events of its own, as
    the applications of a system do, is refused.

    Example: eventsourcing-kafka consumer replay fts --dry-run
    """
    with opened_store(view, system) as store:
        found = finished(lambda: applied_records(store, partition))
        if not dry_run:
            confirm(asking.may_replay(view, found), yes=yes)
            finished(lambda: replay_view(store, partition))
    would = f"{view}: {asking.counted(found)} would be applied again"
    facts = {"view": view, "records": found, "dry_run": dry_run}
    tell(would if dry_run else asking.replayed(view, found), facts, as_json=as_json)


@COMMANDS.command()
def rebuild(
    view: ViewName,
    keep: Annotated[bool, typer.Option(help="Keep the old generation, for --swap-back.")] = False,
    swap_back: Annotated[bool, typer.Option(help="Return to the kept generation.")] = False,
    anew: Annotated[
        bool, typer.Option(help="Do not go on with what an interrupted rebuild has filled.")
    ] = False,
    system: SystemTopic = None,
    yes: Yes = False,
    as_json: AsJson = False,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Fill a new generation of a view beside the active one, and swap them.

    Searches go on against the old one until the swap. If it fails, or is interrupted, the
    active one is as it was, and the next rebuild goes on. What may record events of its own, as
    the applications of a system do, is refused.

    Example: eventsourcing-kafka consumer rebuild fts --keep
    """
    start_logs(log_format)
    with opened_store(view, system) as store:
        job = Rebuild(store, KafkaSettings.from_env(os.environ))
    if swap_back:
        confirm(asking.may_swap_back(view), yes=yes)
        finished(job.swap_back)
        done = asking.swapped_back(view)
    else:
        if not keep:
            confirm(asking.may_rebuild(view), yes=yes)
        _rebuild(job, view, keep=keep, anew=anew)
        done = asking.rebuilt(view)
    tell(done, {"view": view, "swapped_back": swap_back}, as_json=as_json)


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


def _store(name: str) -> ViewStore:
    return ViewStore.of(view_named(name), os.environ)
