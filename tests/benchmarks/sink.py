"""The read side beside what people write by hand: events out of Kafka, a row for each aggregate.

By hand is aiokafka, a group, an upsert and a commit of offsets for each batch, once its rows are
committed: at least once. The view writes the same rows with the same statement, exactly once. Its
commits need not wait for the disk, as its place is in them; who commits offsets to Kafka has to.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID, uuid4

import anyio
import msgspec
import psycopg
from aiokafka import AIOKafkaConsumer
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.unit_of_work import Event, Place
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.contentmanagement.published import EVENT_TYPES
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from tests.benchmarks.figures import Line, Marks, Sample, faster
from tests.benchmarks.servers import Environment, World
from tests.benchmarks.views import REBUILT, Marked, caught_up

PART = 5
"""One event in so many is upserted alone: it takes its time."""
BATCH = 2500
"""Records, at most: as many as a consumer of ours reads at once."""

CREATE_LATEST: LiteralString = """
    CREATE TABLE {schema}.latest (
        aggregate_id uuid PRIMARY KEY,
        partition integer NOT NULL,
        version bigint NOT NULL,
        user_id uuid,
        recorded_at timestamptz NOT NULL
    )
"""

UPSERT_ONE: LiteralString = """
    INSERT INTO {schema}.latest (aggregate_id, partition, version, user_id, recorded_at)
    VALUES (%b, %b, %b, %b, %b)
        ON CONFLICT (aggregate_id) DO UPDATE
       SET version = excluded.version,
           user_id = excluded.user_id,
           recorded_at = excluded.recorded_at
"""

UPSERT_MANY: LiteralString = """
    INSERT INTO {schema}.latest (aggregate_id, partition, version, user_id, recorded_at)
    SELECT * FROM unnest(%b::uuid[], %b::integer[], %b::bigint[], %b::uuid[], %b::timestamptz[])
        ON CONFLICT (aggregate_id) DO UPDATE
       SET version = excluded.version,
           user_id = excluded.user_id,
           recorded_at = excluded.recorded_at
"""

SELECT_LATEST: LiteralString = "SELECT * FROM {schema}.latest ORDER BY aggregate_id"


class Latest(NamedTuple):
    """The last that happened to an aggregate: a row."""

    aggregate_id: UUID
    partition: int
    version: int
    user_id: UUID | None
    recorded_at: datetime


class LatestUnitOfWork:
    """Keeps the last event of each aggregate, and writes these at once. It reads nothing."""

    def __init__(self, schema: str) -> None:
        self._statement = _in_schema(UPSERT_MANY, schema)
        self._rows: dict[UUID, Latest] = {}

    async def read(
        self,
        connection: AsyncConnection[Any],
        originators: Collection[str],
        events: Sequence[Event],
    ) -> None:
        """Read nothing."""

    def apply(self, event: Any, place: Place) -> None:
        """Have the event's row replace the one before."""
        self._rows[event.originator_id] = Latest(
            event.originator_id,
            place.partition,
            event.originator_version,
            getattr(event, "user_id", None),
            event.timestamp,
        )

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing follows from a dropped event."""

    async def write(self, connection: AsyncConnection[Any]) -> None:
        """Upsert the rows."""
        if self._rows:
            await connection.execute(self._statement, _columns(self._rows.values()))


VIEW = View(
    name="latest",
    application_name="ContentManagement",
    types=EVENT_TYPES,
    wanted=EVENT_TYPES,
    tables=["latest"],
    aggregate_columns={"latest": "aggregate_id"},
    create=[CREATE_LATEST],
    unit_of_work=LatestUnitOfWork,
    sent_ahead=True,
)


class Said(msgspec.Struct):
    """What whoever writes it by hand takes of a record's value."""

    originator_id: UUID
    originator_version: int
    timestamp: datetime
    user_id: UUID | None = None


Write = Callable[[AsyncConnection[Any], Sequence[Latest]], Awaitable[None]]


def sink(world: World) -> Iterator[Line]:
    """Upsert each event by hand, a batch by hand, and a batch by a view."""
    published = world.published(world.some(REBUILT))
    events = world.size(published)
    for fill in (_by_view, _by_batch):  # What is done once, the broker's part of it, too.
        _measured(world, published, events, fill)
    rounds = [_round(world, published, events) for _ in world.repeats]
    ours, each, batches = map(Sample, zip(*rounds, strict=True))
    what = "a row for each aggregate, exactly once"
    yield faster(what, ours, "by hand, an upsert an event, at least once", each, 1.0)
    yield faster(what, ours, "by hand, an upsert a batch, at least once", batches)


def _round(world: World, published: Environment, events: int) -> tuple[float, float, float]:
    """Measure each once: our rate, that of an upsert an event, and that of an upsert a batch."""
    ours, rows = _measured(world, published, events, _by_view)
    each, _ = _measured(world, published, events // PART, _by_event)
    batches, same = _measured(world, published, events, _by_batch)
    assert rows == same
    return ours, each, batches


def _measured(
    world: World, published: Environment, events: int, fill: Callable[..., Awaitable[Marks]]
) -> tuple[float, Sequence[tuple[Any, ...]]]:
    """Fill an empty table, and return how fast, and what is in it then."""
    environment = world.view(published, VIEW.name.upper())
    gc.collect()
    marks = anyio.run(fill, environment, events)
    with psycopg.connect(world.dsn(environment, VIEW.name.upper())) as connection:
        schema = ViewStore.of(VIEW, environment).schema
        return marks.rate, connection.execute(_in_schema(SELECT_LATEST, schema)).fetchall()


async def _by_view(environment: Environment, events: int) -> Marks:
    return (await caught_up(Marked, environment, events, VIEW)).marks


async def _by_event(environment: Environment, events: int) -> Marks:
    statement = _in_schema(UPSERT_ONE, ViewStore.of(VIEW, environment).schema)

    async def upsert(connection: AsyncConnection[Any], rows: Sequence[Latest]) -> None:
        for row in rows:
            await connection.execute(statement, row)

    return await _by_hand(environment, events, upsert)


async def _by_batch(environment: Environment, events: int) -> Marks:
    statement = _in_schema(UPSERT_MANY, ViewStore.of(VIEW, environment).schema)

    async def upsert(connection: AsyncConnection[Any], rows: Sequence[Latest]) -> None:
        last = {row.aggregate_id: row for row in rows}
        await connection.execute(statement, _columns(last.values()))

    return await _by_hand(environment, events, upsert)


async def _by_hand(environment: Environment, events: int, write: Write) -> Marks:
    """Do what a program does that somebody writes for this one table, until it has all events."""
    store, settings = ViewStore.of(VIEW, environment), KafkaSettings.from_env(environment)
    consumer = AIOKafkaConsumer(
        Topics.of(VIEW.application_name, settings).events,
        **settings.client(),
        group_id=f"by-hand-{uuid4().hex}",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with store.connected() as connection, started(consumer):
        await store.prepare(connection, settings.topic_partitions)
        marks = Marks()
        while marks.events < events:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            rows = [_row(record) for records in fetched.values() for record in records]
            if rows:
                async with connection.transaction():
                    await write(connection, rows)
                await consumer.commit()
                marks.note(marks.events + len(rows))
    return marks


_decode = msgspec.json.Decoder(Said).decode


def _row(record: Any) -> Latest:
    said = _decode(record.value)
    return Latest(
        said.originator_id, record.partition, said.originator_version, said.user_id, said.timestamp
    )


def _columns(rows: Collection[Latest]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _in_schema(statement: LiteralString, schema: str) -> sql.Composed:
    return sql.SQL(statement).format(schema=sql.Identifier(schema))
