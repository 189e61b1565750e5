"""A dog school in memory, and what follows it, kept in each place, with no Kafka between.

All of them count tricks, and can't take the same ones: what holds for one holds for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, LiteralString

from aiokafka import ConsumerRecord
from eventsourcing.utils import EnvType
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.consumer.engine.applying import Applier, OnError, Outcome
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, Span
from eventsourcing_kafka.consumer.engine.parking import Parked
from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.consumer.hosting.edge import store_of
from eventsourcing_kafka.consumer.operations.redrive import parked_events
from eventsourcing_kafka.consumer.unit_of_work import Event, Place
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.wire import WireFormat
from eventsourcing_kafka.producer.wire.chain import START, Chain, Link
from eventsourcing_kafka.producer.wire.discovery import event_types_of
from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog
from tests.hosting.nursing import Patient, take

PARTITIONS = 2
TYPES = event_types_of(DogSchool)

CREATE_TRICKS: LiteralString = """
    CREATE TABLE {schema}.tricks (
        partition integer NOT NULL,
        trick text NOT NULL,
        times integer NOT NULL,
        PRIMARY KEY (partition, trick)
    )
"""
COUNT_TRICK: LiteralString = """
    INSERT INTO {schema}.tricks VALUES (%(partition)s, %(trick)s, %(times)s)
        ON CONFLICT (partition, trick) DO UPDATE SET times = tricks.times + %(times)s
"""
SELECT_TIMES: LiteralString = """
    SELECT coalesce(sum(times), 0) FROM {schema}.tricks WHERE trick = %s
"""


class TricksUnitOfWork:
    """Counts what `Patient` counts, and can't take what that can't take."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._times: Counter[tuple[int, str]] = Counter()

    async def read(
        self,
        connection: AsyncConnection[Any],
        originators: Collection[str],
        events: Sequence[Event],
    ) -> None: ...

    def apply(self, event: Event, place: Place) -> None:
        if isinstance(event, Dog.TrickAdded):
            while Patient.meanwhile:
                Patient.meanwhile.pop()()
            take(event.trick)
            self._times[place.partition, event.trick] += 1

    def skip(self, originator_id: str, version: int, place: Place) -> None: ...

    async def write(self, connection: AsyncConnection[Any]) -> None:
        statement = sql.SQL(COUNT_TRICK).format(schema=sql.Identifier(self._schema))
        for (partition, trick), times in self._times.items():
            row = {"partition": partition, "trick": trick, "times": times}
            await connection.execute(statement, row)


TRICKS = View(
    name="tricks",
    application_name=DogSchool.name,
    types=TYPES,
    wanted=TYPES,
    tables=("tricks",),
    create=(CREATE_TRICKS,),
    unit_of_work=TricksUnitOfWork,
)


class Following:
    """A dog school, and one that follows it."""

    def __init__(self, store: Store, school: DogSchool, count: Callable[[str], Any]) -> None:
        self.store = store
        self.school = school
        self._count = count
        self._wire = WireFormat(school.name, TYPES, school.mapper)
        self._position = 0
        self._chain = Chain([START] * PARTITIONS)
        self.topic: list[list[ConsumedRecord]] = [[] for _ in range(PARTITIONS)]
        self.dogs = [self._dog_in(partition) for partition in range(PARTITIONS)]
        for dog in self.dogs:
            school.register_dog(dog)

    def teach(self, dog: int, *tricks: str) -> None:
        """Teach the dog in a partition some tricks."""
        for trick in tricks:
            self.school.add_trick(self.dogs[dog], trick)

    def dog_id(self, dog: int) -> str:
        """Return the ID of the dog in a partition."""
        return str(Dog.create_id(self.dogs[dog]))

    def put(self, key: bytes, value: bytes, headers: Sequence[tuple[str, Any]]) -> int:
        """Put a record into the topic, as anybody could; return its partition."""
        partition = partition_of(key, PARTITIONS)
        records = self.topic[partition]
        raw = ConsumerRecord(
            "topic", partition, len(records), 0, 0, key, value, 0, 0, 0, list(headers)
        )
        records.append(ConsumedRecord.of(raw, self._wire, TYPES, PARTITIONS))
        return partition

    def link(self, partition: int, offset: int) -> Link:
        """Return which record is at an offset."""
        envelope = self.topic[partition][offset].envelope
        assert envelope
        return envelope.link

    def batch(self, seen: Mapping[int, Tracking], *, again: bool = False) -> list[Span]:
        """Return what a consumer fetches that goes on from what it has seen; or all `again`."""
        self.relay()
        return [
            Span(partition, seen[partition].offset, len(records), records[start:])
            for partition, records in enumerate(self.topic)
            if len(records) > (start := 0 if again else seen[partition].offset)
        ]

    def relay(self) -> None:
        """Put what is new of the school into the topic."""
        for notification in self.school.recorder.select_notifications(self._position + 1, 1000):
            record = self._wire.to_record(notification)
            self._chain.append(partition_of(record.key, PARTITIONS), record)
            self.put(record.key, record.value, record.headers)
            self._position = notification.id

    async def seen(self) -> dict[int, Tracking]:
        """Return the tracking of each partition."""
        async with self.store.connected() as connection:
            return dict(await self.store.tracking.read(connection, range(PARTITIONS)))

    async def apply(
        self,
        batch: Sequence[Span],
        seen: Mapping[int, Tracking],
        on_error: OnError = OnError.PARK,
    ) -> Outcome:
        """Apply a batch as a consumer does."""
        async with self.store.working({}) as connection:
            return await self.store.run(
                Applier(self.store, on_error).apply, connection, batch, seen
            )

    async def catch_up(self, on_error: OnError = OnError.PARK) -> Outcome:
        """Apply all that the school has."""
        seen = await self.seen()
        return await self.apply(self.batch(seen), seen, on_error)

    async def parked(self) -> Sequence[Parked]:
        """Return what is parked, in order."""
        return await parked_events(self.store)

    async def count(self, trick: str) -> int:
        """Return how often the follower has heard of a trick."""
        if isinstance(self.store, ViewStore) and self.store.view.name == TRICKS.name:
            async with self.store.connected() as connection:
                cursor = await connection.execute(self.store.sql(SELECT_TIMES), [trick])
                row = await cursor.fetchone()
                assert row
                return int(row[0])
        return int(self._count(trick))

    async def counts(self) -> dict[str, int]:
        """Return how often it has heard of each trick."""
        taught = {
            event.trick
            for records in self.topic
            for record in records
            if isinstance(event := record.event, Dog.TrickAdded)
        }
        return {trick: times for trick in sorted(taught) if (times := await self.count(trick))}

    def _dog_in(self, partition: int) -> str:
        for name in ("Billy", "Milly", "Scruffy", "Rex", "Bello"):
            if partition_of(str(Dog.create_id(name)).encode(), PARTITIONS) == partition:
                return name
        raise AssertionError


async def made(env: Mapping[str, str], **changes: Any) -> ViewStore:
    """Make the tables of the view, with some changes to it."""
    store = ViewStore.of(replace(TRICKS, **changes), env)
    async with store.connected() as connection:
        await store.prepare(connection, PARTITIONS)
    return store


@contextmanager
def viewed(env: Mapping[str, str], *, sent_ahead: bool) -> Iterator[Following]:
    """Have a view in Postgres follow."""
    with DogSchool() as school:
        store = ViewStore.of(replace(TRICKS, sent_ahead=sent_ahead), env)
        yield Following(store, school, int)


@contextmanager
def hosted(env: EnvType) -> Iterator[Following]:
    """Have an application of the library follow, on whatever its settings say."""
    with DogSchool() as school, Patient(env) as app:
        store = store_of(Patient.name, app, app.recorder, DogSchool, school.mapper)
        if store.capabilities.reachable:
            with Patient(env) as reader:
                yield Following(store, school, reader.count)
        else:
            yield Following(store, school, app.count)
