"""`eventsourcing-kafka consumer status`: shows how far views are."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Annotated, NamedTuple, Self

import anyio
import msgspec
import typer
from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.followers import Followers, followers_of, opened_each
from eventsourcing_kafka.consumer.operations.as_of import AsOf, generations
from eventsourcing_kafka.consumer.operations.commands import messages
from eventsourcing_kafka.consumer.operations.commands.stores import SystemTopic, ViewNames
from eventsourcing_kafka.consumer.operations.commands.watch import watch
from eventsourcing_kafka.consumer.operations.status import PartitionStatus, never_run, read_status
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import read_retention_risks
from eventsourcing_kafka.producer.runtime.cli import finished
from eventsourcing_kafka.producer.runtime.health import Down, read_or_down
from eventsourcing_kafka.producer.runtime.logs import complain, message_of
from eventsourcing_kafka.producer.runtime.output import AsJson, table_of
from eventsourcing_kafka.producer.runtime.pipeline import (
    PipelineFile,
    found_pipeline,
    settings_with,
)
from eventsourcing_kafka.producer.runtime.retry import describe, is_transient

logger = logging.getLogger(__name__)


def status(
    names: ViewNames = None,
    system: SystemTopic = None,
    file: PipelineFile = None,
    watching: Annotated[
        bool, typer.Option("--watch", help="Keep showing it, on a terminal, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far views are, partition by partition; exit with 1 if one has stopped.

    The gap is in Kafka offsets, the lag in seconds: the age of the oldest event not applied. A gap
    is unknown while what was applied last is not in the topic, and about right while the source is
    the write model, which has what Kafka has deleted. Settings of the topic that delete events are
    named, with what to do, and views as they were, which stand beside. It exits with 1, too, if one
    that is named, or in the pipeline, has never run though events are published.

    Example: eventsourcing-kafka consumer status shop.views:ORDERS

    Example: eventsourcing-kafka consumer status --watch

    Example: eventsourcing-kafka consumer status --system shop.packing:system
    """
    env = settings_with(file)
    settings = KafkaSettings.from_env(env)
    pipeline = found_pipeline(file)
    followers = followers_of(names or (), system, pipeline)

    async def read() -> _Found:
        return await _read_each(stores, settings)

    def shown(found: _Found | Down) -> RenderableType:
        if isinstance(found, Down):
            found = _Found((), (), [f"down: {found.down}"])
        troubles = [*map(message_of, broken), *found.lost]
        return Group(*(Text(trouble, "bold red") for trouble in troubles), _rendered(found))

    with _opened(followers, env) as (stores, broken):
        console = Console()
        if watching and console.is_terminal and not as_json:
            finished(lambda: watch(lambda: read_or_down(read), shown, console))
        found = finished(read)
        risks = finished(partial(_read_risks, stores, settings))
    # What is installed only is not said to run here.
    lacking = map(_never_run, never_run(found.rows) if names or system or pipeline else ())
    troubles = [*map(message_of, broken), *found.lost, *lacking]
    if as_json:
        typer.echo(msgspec.json.encode(found.rows))
    elif found.rows or not troubles:
        console.print(_rendered(found))
    for risk in risks:
        logger.warning("%s", risk)
    for trouble in troubles:
        complain(trouble)
    if troubles or any(row.stopped for row in found.rows):
        raise typer.Exit(1)


@contextmanager
def _opened(
    followers: Followers, env: Mapping[str, str]
) -> Iterator[tuple[Sequence[Store], Sequence[Exception]]]:
    """Open what can be opened, and yield why the rest can't. If nothing can, that is raised."""
    with opened_each(followers, env) as opened:
        stores, broken = list(opened.stores.values()), list(opened.broken.values())
        if broken and not stores:
            raise broken[0]
        yield stores, broken


async def _read_risks(stores: Sequence[Store], settings: KafkaSettings) -> Sequence[str]:
    """Return what is risked by the settings of the topics that are followed."""
    followed = dict.fromkeys(store.view.application_name for store in stores)
    return [risk for name in followed for risk in await read_retention_risks(name, settings)]


def _never_run(view: str) -> str:
    return (
        f"{view} has not run yet, though events are published: start its consumer, or see in the "
        "log of that why it ends"
    )


class _Found(NamedTuple):
    """How far views are."""

    rows: Sequence[PartitionStatus]
    past: Sequence[AsOf]
    """Views as they were, which stand beside them."""
    lost: Sequence[str]
    """Why it can't be told of some, once for each reason."""


async def _read_each(stores: Sequence[Store], settings: KafkaSettings) -> _Found:
    """Read how far each view is. A server that is lost hides those of its views only."""
    found: dict[int, list[PartitionStatus]] = {}
    past: dict[int, Sequence[AsOf]] = {}
    lost: dict[int, str] = {}

    async def read(number: int) -> None:
        try:
            found[number] = await read_status(stores[number], settings)
            if stores[number].capabilities.replayable:
                past[number] = await generations(stores[number])
        except Exception as error:
            if not is_transient(error):
                raise
            lost[number] = describe(error)

    async with anyio.create_task_group() as tasks:
        for number in range(len(stores)):
            tasks.start_soon(read, number)
    return _Found(
        [row for number in sorted(found) for row in found[number]],
        [each for number in sorted(past) for each in past[number]],
        list(dict.fromkeys(lost[number] for number in sorted(lost))),
    )


class Line(msgspec.Struct, frozen=True):
    """What a table shows of a partition: so much fits a terminal. JSON has it all."""

    partition: int
    position: int
    gap: int | str
    lag: float
    records: int
    parked: int
    dropped: int | None
    rebuild_gap: int | None
    source: str | None
    stopped: str | None
    owner: str | None

    @classmethod
    def of(cls, row: PartitionStatus) -> Self:
        """Return the line of a partition."""
        return cls(
            row.partition,
            row.position,
            "unknown" if row.gap is None else row.gap,
            row.lag_seconds,
            row.records,
            row.parked,
            row.dropped or None,
            row.rebuild_gap,
            "write model" if row.from_write_model else None,
            "see below" if row.stopped else None,
            row.owner,
        )


def _rendered(found: _Found) -> RenderableType:
    views = groupby(found.rows, lambda row: row.view)
    tables = [_table(view, [Line.of(row) for row in rows]) for view, rows in views]
    reasons = [
        Text(f"{row.view}, partition {row.partition} has stopped: {row.stopped}\n", "red")
        for row in found.rows
        if row.stopped
    ]
    past = [Text(f"{each.schema} is {messages.described_as_of(each)}") for each in found.past]
    return Group(*tables, *reasons, *past)


def _table(view: str, lines: Sequence[Line]) -> Table:
    table = table_of(lines, Line)
    table.title, table.title_justify, table.title_style = view, "left", "bold"
    table.box = SIMPLE
    return table
