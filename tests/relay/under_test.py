"""A write model, the relay of its events, and a reader of the topic that is not ours."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import anyio
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder
from psycopg import AsyncConnection

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.kafka import compat
from eventsourcing_kafka.producer.kafka.clients import groupless_consumer, started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partitions_of
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import (
    Publisher,
    Relay,
    RelayStatus,
    read_status,
    relay,
    resume,
)
from eventsourcing_kafka.producer.relay.publisher import Batch
from eventsourcing_kafka.producer.relay.tails import Tail
from eventsourcing_kafka.producer.runtime.postgres import connect_arguments
from eventsourcing_kafka.producer.wire import WireFormat
from eventsourcing_kafka.producer.wire.position import Published, read_published
from tests.pipeline import until

PARTITIONS = 3
PAGES = [UUID(int=number) for number in range(1, 6)]


class RelayProgress:
    """Up to where relays have come, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._position = -1
        self._moved = anyio.Event()
        self.gave_up = anyio.Event()
        go_on, publish = resume.position_to_go_on, Publisher.publish

        def position_to_go_on(last: Published | None, tails: Sequence[Tail]) -> int:
            position = go_on(last, tails)
            self._set(position)
            return position

        async def publish_and_tell(publisher: Publisher, batch: Batch) -> None:
            try:
                await publish(publisher, batch)
            except BaseException:
                self.gave_up.set()
                raise
            self._set(batch.position)

        monkeypatch.setattr(relay, "position_to_go_on", position_to_go_on)
        monkeypatch.setattr(Publisher, "publish", publish_and_tell)

    def forget(self) -> None:
        self._position = -1
        self.gave_up = anyio.Event()

    def _set(self, position: int) -> None:
        self._position = position
        self._moved.set()
        self._moved = anyio.Event()

    async def reached(self, position: int) -> None:
        with anyio.fail_after(30):
            while self._position < position:
                await self._moved.wait()


def as_an_older_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a broker tell producers that it knows no transactions of KIP-890."""

    async def has_none(*_: object) -> bool:
        return False

    monkeypatch.setattr(compat, "has_newer", has_none)


class RelayUnderTest:
    """One application and its topics."""

    def __init__(
        self, app: ContentManagement, settings: KafkaSettings, progress: RelayProgress
    ) -> None:
        self.app = app
        self.settings = settings
        self.progress = progress
        self.topics = Topics.of(app.name, settings)
        self.wire = WireFormat.of(app)
        self._versions: Counter[UUID] = Counter()

    def write(self, count: int = 1, size: int = 0, when: datetime | None = None) -> int:
        """Store events of several aggregates, and return the position of the last one."""
        events = [self._event(PAGES[number % len(PAGES)], size, when) for number in range(count)]
        return max(self.app.recorder.insert_events(events) or [0])

    def _event(self, originator_id: UUID, size: int, when: datetime | None) -> StoredEvent:
        self._versions[originator_id] += 1
        make: Any = Page.BodyUpdated
        event = make(
            originator_id=originator_id,
            originator_version=self._versions[originator_id],
            timestamp=when or Page.Event.create_timestamp(),
            diff=random.randbytes(size // 2).hex(),  # Compression makes it no smaller.
        )
        return self.app.mapper.to_stored_event(event)

    def relay(self, *, limit: int = 2000, **timing: float) -> Relay:
        return Relay(outbox_of(self.app, limit=limit), self.wire, self.settings, **timing)

    @asynccontextmanager
    async def relaying(self, *, limit: int = 2000, **timing: float) -> AsyncIterator[None]:
        """Run a relay meanwhile, and stop it at the end."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.relay(limit=limit, **timing).run)
            yield
            group.cancel_scope.cancel()

    async def catch_up(self, *, limit: int = 2000) -> None:
        """Run a fresh relay until all is published."""
        head = await outbox_of(self.app).head()
        self.progress.forget()
        async with self.relaying(limit=limit):
            await self.progress.reached(head)
        await self.shown()

    async def shown(self) -> None:
        """Wait until position records that are committed can be read: Kafka answers before."""
        if not await partitions_of(self.topics.position, self.settings):
            return
        async with (
            groupless_consumer(self.settings) as committed,
            groupless_consumer(self.settings, committed=False) as everything,
        ):
            at = [TopicPartition(self.topics.position, 0)]

            async def is_shown() -> bool:
                return bool(await committed.end_offsets(at) == await everything.end_offsets(at))

            await until(is_shown)

    async def published(self) -> int:
        """Return the position of the last position record."""
        await self.shown()
        last = await read_published(self.topics, self.settings)
        return last.position if last else 0

    async def status(self) -> RelayStatus:
        return await read_status(outbox_of(self.app), self.wire, self.settings)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        async with started(AIOKafkaAdminClient(**self.settings.client())) as admin:
            yield admin

    async def create_topic(self, name: str, partitions: int, config: dict[str, str]) -> None:
        async with self.admin() as admin:
            await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config)])

    async def execute(self, statement: LiteralString) -> int:
        """Run a statement in the write model's database, and return how many rows it finds."""
        recorder = self.app.recorder
        assert isinstance(recorder, PostgresApplicationRecorder)
        arguments = connect_arguments(recorder.datastore)
        async with await AsyncConnection.connect(**arguments) as connection:
            return (await connection.execute(statement)).rowcount

    async def records(self) -> list[ConsumerRecord[bytes, bytes]]:
        return await records_of(self.topics, self.settings, PARTITIONS)


async def records_of(
    topics: Topics, settings: KafkaSettings, count: int
) -> list[ConsumerRecord[bytes, bytes]]:
    """Return all that a read_committed reader finds in so many partitions, in offset order.

    What is committed is not shown until Kafka has ended its transaction in its partition.
    """
    consumer = AIOKafkaConsumer(
        **settings.client(), isolation_level="read_committed", enable_auto_commit=False
    )
    async with started(consumer):
        partitions = [TopicPartition(topics.events, number) for number in range(count)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        async with groupless_consumer(settings, committed=False) as everything:
            ends = await everything.end_offsets(partitions)
        found: list[ConsumerRecord[bytes, bytes]] = []
        with anyio.fail_after(20):
            while any([await consumer.position(at) < ends[at] for at in partitions]):
                for batch in (await consumer.getmany(timeout_ms=50)).values():
                    found += batch
        return found


def position_of(record: ConsumerRecord[bytes, bytes]) -> int:
    return int(dict(record.headers)["ce_position"])


def positions(records: Iterable[ConsumerRecord[bytes, bytes]]) -> list[int]:
    return [position_of(record) for record in records]


def by_offset(record: ConsumerRecord[bytes, bytes]) -> tuple[int, int]:
    return record.partition, record.offset


def by_position(record: ConsumerRecord[bytes, bytes]) -> tuple[int, int]:
    return record.partition, position_of(record)
