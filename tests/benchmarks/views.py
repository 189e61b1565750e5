"""Views that catch up, against the bare SQL that they write, and against the library's runner.

The floor is what the consumer's own batches leave to be written: the same units of work, filled
before the clock starts, and the tracking, on one connection, in transactions of the same size.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from itertools import product
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import anyio
from aiokafka import TopicPartition
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Tracking as LibraryTracking
from eventsourcing.projection import EventSourcedProjectionRunner
from psycopg import AsyncConnection

from eventsourcing_kafka.consumer.engine.applying import Applied, Applier, Outcome, fold
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, Span, follow
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.parking import SetAside
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking
from eventsourcing_kafka.consumer.operations.filling import Source
from eventsourcing_kafka.consumer.operations.history import write_model_of
from eventsourcing_kafka.consumer.operations.rebuild import Rebuild
from eventsourcing_kafka.consumer.unit_of_work import UnitOfWork
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.activity import VIEW as ACTIVITY
from eventsourcing_kafka.consumer.views.fts import VIEW as FTS
from eventsourcing_kafka.consumer.views.fts.application import FtsProcess
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.clients import groupless_consumer
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from tests.benchmarks import programs
from tests.benchmarks.figures import Line, Marks, Sample, faster
from tests.benchmarks.servers import LOOK_SECONDS, Environment, World, seconds_since

EVENTS = 20_000
FEWEST = 13_000
"""Some batches: the first is left out of a rate, with the start of the consumer in it."""
REBUILT = 100_000
"""Events for a rebuild, and for what is as quick."""
PART = 1500
"""So many events are for the library's runner."""
SQL = "bare SQL of the same batches"
SESSION = {"synchronous_commit": "off"}
RECORDER = "eventsourcing_kafka.consumer.views.fts.postgres:PostgresFtsProcessRecorder"
NOTHING_SET_ASIDE = SetAside(set(), ())


class Batch(NamedTuple):
    """What a consumer applied in one transaction."""

    spans: Sequence[Span]
    seen: Mapping[int, Tracking]

    @property
    def events(self) -> int:
        """How many records it has."""
        return sum(len(span.records) for span in self.spans)

    @property
    def moves(self) -> list[Move]:
        """What it does to the tracking."""
        return [follow(span, self.seen[span.partition]).move for span in self.spans]


class Written(NamedTuple):
    """What is left of a batch for its transaction to write."""

    moves: Sequence[Move]
    events: int
    unit: UnitOfWork


class Marked(Applier):
    """Applies as ever, and marks when how many events were in the view."""

    def __init__(self, store: ViewStore) -> None:
        super().__init__(store)
        self.marks = Marks()

    async def apply(
        self, connection: AsyncConnection[Any], batch: Sequence[Span], seen: Mapping[int, Tracking]
    ) -> Outcome:
        """Apply a batch."""
        outcome = await super().apply(connection, batch, seen)
        if isinstance(outcome, Applied):
            self.applied(Batch(batch, dict(seen)))
        return outcome

    def applied(self, batch: Batch) -> None:
        """Take note of a batch that is in the view."""
        self.marks.note(self.marks.events + batch.events)


class Observed(Marked):
    """Remembers the batches, too."""

    def __init__(self, store: ViewStore) -> None:
        super().__init__(store)
        self.batches: list[Batch] = []

    def applied(self, batch: Batch) -> None:
        """Remember a batch."""
        self.batches.append(batch)
        super().applied(batch)


AnyMarked = TypeVar("AnyMarked", bound=Marked)


def fts(world: World) -> Iterator[Line]:
    """Catch up the search view, with its index live."""
    rates, floors, _ = _against_floor(world, FTS, EVENTS)
    yield faster("fts, catching up", rates, SQL, floors, 0.85)
    yield from _against_library(world, "fts, catching up", rates, program=25.0, in_process=12.0)


def activity(world: World) -> Iterator[Line]:
    """Catch up the activity view."""
    rates, floors, fetched = _against_floor(world, ACTIVITY, REBUILT)
    yield faster("activity, catching up", rates, SQL, floors, 0.7)
    yield faster("activity, catching up", rates, f"bare aiokafka, getmany(), and {SQL}", fetched)


def rebuild(world: World) -> Iterator[Line]:
    """Rebuild views, their indexes included, from Kafka, which has all, and the write model."""
    published = world.published(world.some(REBUILT))
    rates: dict[tuple[str, Source], list[float]] = defaultdict(list)
    for _, view, source in product(world.repeats, (FTS, ACTIVITY), Source):
        rates[view.name, source].append(_rebuild_rate(world, published, view, source))
    kafka, outbox = (
        {view.name: Sample(rates[view.name, source]) for view in (FTS, ACTIVITY)}
        for source in (Source.KAFKA, Source.OUTBOX)
    )
    what = f"{FTS.name}, rebuild with index"
    yield from _against_library(world, what, kafka[FTS.name], program=60.0, in_process=None)
    for name, rate in outbox.items():
        yield faster(f"{name}, rebuild from the outbox", rate, "the same from Kafka", kafka[name])


def _rebuild_rate(world: World, published: Environment, view: View, source: Source) -> float:
    environment = world.view(published, view.name.upper())
    anyio.run(_prepared, view, environment)
    begin = time.perf_counter()
    anyio.run(_rebuilt, view, environment, source)
    return world.size(published) / seconds_since(begin)


def _against_library(
    world: World, what: str, rates: Sample, *, program: float | None, in_process: float | None
) -> Iterator[Line]:
    """Compare with the library's runner, with `patch` run as a program, and without."""
    runner = "library's runner, patch "
    yield faster(what, rates, f"{runner}as a program", library(world, program=True), program)
    yield faster(what, rates, f"{runner}in process", library(world, program=False), in_process)


def _against_floor(world: World, view: View, full: int) -> tuple[Sample, Sample, Sample]:
    """Return rates: of the consumer, of what it writes alone, and of that fetched and written."""
    published = world.published(max(FEWEST, world.some(full)))
    events = world.size(published)

    def environment() -> Environment:
        return world.view(published, view.name.upper())

    batches = anyio.run(caught_up, Observed, environment(), events, view).batches
    written = anyio.run(_filled, ViewStore.of(view, environment()), batches)
    # A consumer that is measured keeps no batch: that would cost memory, and it has none of it.
    del batches
    rounds = []
    for _ in world.repeats:
        gc.collect()
        gc.freeze()  # Nobody is to look for garbage in what is kept.
        ours = anyio.run(caught_up, Marked, environment(), events, view).marks
        mine = environment()
        store = ViewStore.of(view, mine)
        alone = anyio.run(_written, store, written)
        fetched = anyio.run(_fetched_and_written, mine, store, written)
        rounds.append((ours.rate, alone.rate, fetched.rate))
    rates, floors, both = map(Sample, zip(*rounds, strict=True))
    return rates, floors, both


async def caught_up(
    applying: type[AnyMarked], environment: Environment, events: int, view: View
) -> AnyMarked:
    """Have a consumer apply so many events to an empty view."""
    store = ViewStore.of(view, environment)
    applier = applying(store)
    consumer = Consumer(store, KafkaSettings.from_env(environment), applier=applier)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consumer.run)
        while applier.marks.events < events:  # noqa: ASYNC110 - it looks, and is not told
            await anyio.sleep(LOOK_SECONDS)
        tasks.cancel_scope.cancel()
    return applier


async def _fetched_and_written(
    environment: Environment, store: ViewStore, written: Sequence[Written]
) -> Marks:
    """Before each batch is written have aiokafka bring as many records, and let them lie."""
    settings = KafkaSettings.from_env(environment)
    topic = Topics.of(store.view.application_name, settings).events
    async with groupless_consumer(settings) as consumer:
        partitions = [TopicPartition(topic, n) for n in range(settings.topic_partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()

        async def fetch(records: int) -> None:
            while records > 0:
                fetched = await consumer.getmany(timeout_ms=1000, max_records=records)
                records -= sum(map(len, fetched.values()))

        return await _written(store, written, fetch)


async def _nothing(_records: int) -> None:
    """Fetch no records."""


async def _written(
    store: ViewStore,
    written: Sequence[Written],
    fetch: Callable[[int], Awaitable[None]] = _nothing,
) -> Marks:
    """Write what the batches leave to be written, and nothing else."""
    async with store.connected(SESSION) as connection:
        await _emptied(store, connection, written)
        marks = Marks()
        for batch in written:
            await fetch(batch.events)
            async with connection.transaction():
                have_moved = await store.tracking.move(connection, batch.moves)
                assert await have_moved()
                await batch.unit.write(connection)
            marks.note(marks.events + batch.events)
    return marks


async def _emptied(
    store: ViewStore, connection: AsyncConnection[Any], written: Sequence[Written | Batch]
) -> None:
    partitions = 1 + max(move.to.partition for batch in written for move in batch.moves)
    await connection.execute(store.sql("DROP SCHEMA IF EXISTS {schema} CASCADE"))
    await store.prepare(connection, partitions)


async def _filled(store: ViewStore, batches: Sequence[Batch]) -> Sequence[Written]:
    """Apply batches, and return what each wrote, to be written once more."""
    async with store.connected(SESSION) as connection:
        await _emptied(store, connection, batches)
        return [
            Written(batch.moves, batch.events, await _unit_of(store, connection, batch))
            for batch in batches
        ]


async def _unit_of(store: ViewStore, connection: AsyncConnection[Any], batch: Batch) -> UnitOfWork:
    wanted = [record for span in batch.spans for record in span.records if record.event]
    unit = store.view.unit_of_work(store.schema)
    await unit.read(connection, *_concerned(wanted))
    assert fold(unit, wanted, NOTHING_SET_ASIDE) == []
    await unit.write(connection)
    return unit


def _concerned(
    wanted: Sequence[ConsumedRecord],
) -> tuple[Collection[str], Sequence[DomainEventProtocol[Any]]]:
    originators = {record.originator_id for record in wanted}
    return originators, [record.event for record in wanted if record.event]


@cache
def library(world: World, *, program: bool) -> Sample:
    """Have the library's runner apply a part of the events to the same view."""
    part = world.some(PART)
    environment = {
        **world.view(world.wiki(world.some(EVENTS)), "FTSPROCESS"),
        "FTSPROCESS_PROCESS_RECORDER_TOPIC": RECORDER,
    }
    marks = Marks()

    class Process(FtsProcess):
        name = "FtsProcess"

        def process_event(
            self, domain_event: DomainEventProtocol[UUID], tracking: LibraryTracking
        ) -> None:
            if tracking.notification_id <= part:  # It is not to be in the middle of one at the end.
                super().process_event(domain_event, tracking)
                marks.note(tracking.notification_id)

    with (
        programs.instead() if program else nullcontext(),
        EventSourcedProjectionRunner(
            application_class=ContentManagement, projection_class=Process, env=environment
        ) as runner,
    ):
        runner.wait(part, timeout=600)
    return Sample([marks.rate])


async def _prepared(view: View, environment: Environment) -> None:
    """Have an active generation, which a rebuild needs."""
    store = ViewStore.of(view, environment)
    async with store.connected() as connection:
        await store.prepare(connection, KafkaSettings.from_env(environment).topic_partitions)


async def _rebuilt(view: View, environment: Environment, source: Source) -> None:
    settings = KafkaSettings.from_env(environment)
    write_model = write_model_of(view, environment)
    job = Rebuild(ViewStore.of(view, environment), settings, write_model=write_model, source=source)
    await job.run(lambda _: None, anew=True)
