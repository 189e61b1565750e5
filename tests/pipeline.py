"""The way from the wiki to its search view: the whole of it, or with no Kafka between."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString, ParamSpec, Self, TypeVar
from uuid import UUID

import anyio
from aiokafka import ConsumerRecord, TopicPartition
from anyio import to_thread
from anyio.abc import TaskGroup
from eventsourcing.utils import get_topic
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.consumer.engine.applying import Applier, OnError, Outcome
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, Span
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.engine.tracking import Tracking, TrackingProgress
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, Slug
from eventsourcing_kafka.producer.kafka.clients import groupless_consumer
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import Relay
from eventsourcing_kafka.producer.relay import read_status as read_relay_status
from eventsourcing_kafka.producer.wire import Record, WireError, WireFormat
from eventsourcing_kafka.producer.wire.chain import START, Chain, Link

WIKI = get_topic(ContentManagement)
RELAY = ("producer", "relay", "-a", WIKI)
"""The command of the wiki's relay."""
ROOT = Path(__file__).parents[1]
SECONDS = 30.0
"""Whatever is waited for longer will not come."""

LISTENERS: LiteralString = """
    SELECT FROM pg_stat_activity
     WHERE datname = current_database() AND pid != pg_backend_pid()
       AND state = 'idle' AND query NOT LIKE 'LISTEN%%'
"""

P = ParamSpec("P")
T = TypeVar("T")


def pages_of(wiki: ContentManagement) -> list[PageInfo]:
    """Return what the view must have of each page of the write model."""
    pages: list[Page] = [wiki.repository.get(logged.page_id) for logged in wiki.page_log.get()]
    return sorted(PageInfo(p.id, p.version, p.slug, p.title, p.body) for p in pages)


def page_id(wiki: ContentManagement, slug: str) -> UUID:
    """Return the ID of the page that a slug leads to."""
    entry: Slug = wiki.repository.get(Slug.create_id(slug))
    assert entry.page_id is not None
    return entry.page_id


def write_page(wiki: ContentManagement, slug: str, *bodies: str) -> UUID:
    """Create a page, and give it one body after the other."""
    wiki.create_page(slug.title(), slug)
    for body in bodies:
        wiki.update_body(slug, body)
    return page_id(wiki, slug)


async def select_pages(store: ViewStore) -> list[PageInfo]:
    """Return the rows of the view."""
    statement = sql.SQL("SELECT id, version, slug, title, body FROM {}.pages ORDER BY id")
    async with store.connected() as connection:
        cursor = await connection.execute(statement.format(sql.Identifier(store.schema)))
        return [PageInfo(*row) for row in await cursor.fetchall()]


async def until(happens: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what nothing notifies of."""
    with anyio.fail_after(SECONDS):
        while not await happens():  # noqa: ASYNC110
            await anyio.sleep(0.02)


class Part:
    """A relay or a consumer that runs."""

    def __init__(self, run: Callable[[], Awaitable[None]]) -> None:
        self._run = run
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    async def run(self) -> None:
        """Run until it is stopped; its errors go to whoever runs it."""
        with self._scope:
            await self._run()
        self._ended.set()

    async def stop(self) -> None:
        """Cancel it, and wait until it has ended."""
        self._scope.cancel()
        await self._ended.wait()


class Pipeline(anyio.AsyncContextManagerMixin):
    """The wiki, a relay, and some consumers of a view, on real servers.

    An error of one of them ends the context.
    """

    wiki: ContentManagement
    relay: Part

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        consumers: int = 1,
        relay: bool = True,
        view: View = VIEW,
    ) -> None:
        self.environment = dict(environment)
        self.settings = KafkaSettings.from_env(self.environment)
        self.store = ViewStore.of(view, self.environment)
        self.consumers: list[Part] = []
        self._wanted = (consumers, relay)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncIterator[Self]:
        self.wiki = await to_thread.run_sync(ContentManagement, self.environment)
        self._outbox = outbox_of(self.wiki)
        self._wire = WireFormat.of(self.wiki)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks: TaskGroup = tasks
                consumers, relay = self._wanted
                if relay:
                    self.start_relay()
                for _ in range(consumers):
                    self.start_consumer()
                yield self
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self.wiki.close)

    def start_relay(self) -> None:
        """Start a relay, which fences an earlier one off."""
        self.relay = self._start(Relay(self._outbox, self._wire, self.settings).run)

    def start_consumer(self, consumer: Consumer | None = None) -> Part:
        """Start one more consumer."""
        part = self._start((consumer or self.consumer()).run)
        self.consumers.append(part)
        return part

    def consumer(self, **options: Any) -> Consumer:
        """Return a consumer that does not run yet, and that has no time to finish when killed."""
        return Consumer(self.store, self.settings, **{"grace": 0, **options})

    async def do(self, command: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a command of the wiki in a worker thread."""
        return await to_thread.run_sync(lambda: command(*args, **kwargs))

    async def write(self, slug: str, *bodies: str) -> UUID:
        """Create a page with these bodies, one after the other."""
        return await self.do(write_page, self.wiki, slug, *bodies)

    async def published(self) -> None:
        """Wait until all that the wiki has is in Kafka."""
        await until(self._is_published)

    async def applied(self, store: ViewStore | None = None) -> None:
        """Wait until the view, or another one, has all that the wiki has."""
        store = store or self.store
        for originator_id, position in (await self.do(self._last_positions)).items():
            await store.wait(position, originator_id, seconds=SECONDS)

    async def settled(self) -> None:
        """Wait until all is applied, and the tracking is at the ends of the partitions."""
        await self.applied()
        await self.published()
        await until(self._is_at_the_ends)

    async def ends(self) -> dict[int, int]:
        """Return the offset after the last stable one of each partition."""
        topic = Topics.of("ContentManagement", self.settings).events
        partitions = [TopicPartition(topic, n) for n in range(self.settings.topic_partitions)]
        async with groupless_consumer(self.settings) as kafka:
            ends = await kafka.end_offsets(partitions)
            return {partition.partition: end for partition, end in ends.items()}

    async def pages(self) -> list[PageInfo]:
        """Return the rows of the view."""
        return await select_pages(self.store)

    async def expected_pages(self) -> list[PageInfo]:
        """Return what the rows must be, from the write model."""
        return await self.do(pages_of, self.wiki)

    async def trackings(self) -> dict[int, Tracking]:
        """Return the tracking of each partition."""
        async with self.store.connected() as connection:
            every = range(self.settings.topic_partitions)
            return dict(await self.store.tracking.read(connection, every))

    async def progress(self) -> Sequence[TrackingProgress]:
        """Return the whole tracking row of each partition."""
        async with self.store.connected() as connection:
            return await self.store.tracking.progress(connection)

    async def _is_published(self) -> bool:
        status = await read_relay_status(self._outbox, self._wire, self.settings)
        return status.position == status.head

    async def _is_at_the_ends(self) -> bool:
        trackings = await self.trackings()
        return {n: tracking.offset for n, tracking in trackings.items()} == await self.ends()

    def _last_positions(self) -> dict[UUID | str, int]:
        notifications = self.wiki.recorder.select_notifications(1, 1_000_000)
        count = self.settings.topic_partitions
        last = {
            partition_of(str(notification.originator_id).encode(), count): notification
            for notification in notifications
        }
        return {notification.originator_id: notification.id for notification in last.values()}

    def _start(self, run: Callable[[], Awaitable[None]]) -> Part:
        part = Part(run)
        self._tasks.start_soon(part.run)
        return part


class WithoutKafka(anyio.AsyncContextManagerMixin):
    """A wiki in memory, and a view of it in Postgres, with no Kafka between.

    What Kafka would bring is made from the wiki's notifications by the same wire format.
    """

    partitions = 2

    connection: AsyncConnection[Any]

    def __init__(self, environment: Mapping[str, str], view: View = VIEW) -> None:
        self.wiki = ContentManagement({"MAX_BODY_BYTES": "4000000", "MAX_DIFF_BYTES": "9000000"})
        self.store = ViewStore.of(view, environment)
        self._writing = WireFormat.of(self.wiki)
        self._reading = WireFormat("ContentManagement", view.types)
        self._position = 0
        self._chain = Chain([START] * self.partitions)
        self._topic: list[list[ConsumedRecord]] = [[] for _ in range(self.partitions)]

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncIterator[Self]:
        async with self.store.connected() as self.connection:
            await self.store.prepare(self.connection, self.partitions)
            yield self

    async def seen(self) -> dict[int, Tracking]:
        """Return the tracking of each partition."""
        return dict(await self.store.tracking.read(self.connection, range(self.partitions)))

    def batch(self, seen: Mapping[int, Tracking]) -> list[Span]:
        """Return what a consumer fetches that goes on from what it has seen."""
        self.relay()
        return [
            Span(partition, start, len(items), items[start:])
            for partition, items in enumerate(self._topic)
            if len(items) > (start := seen[partition].offset)
        ]

    async def catch_up(self, on_error: OnError = OnError.PARK) -> Outcome:
        """Apply all that the wiki has."""
        seen = await self.seen()
        return await Applier(self.store, on_error).apply(self.connection, self.batch(seen), seen)

    async def pages(self) -> list[PageInfo]:
        """Return the rows of the view."""
        return await select_pages(self.store)

    async def sql(self, statement: LiteralString) -> None:
        """Change the view behind everybody's back."""
        await self.connection.execute(self.store.sql(statement))

    def partition(self, originator_id: UUID) -> int:
        """Return the partition of an aggregate."""
        return partition_of(str(originator_id).encode(), self.partitions)

    async def listened(self) -> None:
        """Wait until somebody else waits for a notification of the view's database."""
        await until(self._is_listened)

    async def _is_listened(self) -> bool:
        cursor = await self.connection.execute(LISTENERS)
        return cursor.rowcount > 0

    def _link_to_be(self, key: bytes | None, headers: list[tuple[str, Any]]) -> Link | None:
        try:
            return self._reading.envelope(key, [*headers, ("ce_predecessor", b"0")]).link
        except WireError:
            return None

    def link(self, partition: int, offset: int) -> Link:
        """Return which record is at an offset."""
        envelope = self._topic[partition][offset].envelope
        assert envelope
        return envelope.link

    def offered(self) -> dict[int, int]:
        """Return how many records there are in each partition."""
        return {partition: len(items) for partition, items in enumerate(self._topic)}

    async def progress(self) -> Sequence[TrackingProgress]:
        """Return the whole tracking row of each partition."""
        return await self.store.tracking.progress(self.connection)

    async def records(self) -> dict[int, int]:
        """Return how many records of each partition the view has taken in."""
        return {row.tracking.partition: row.records for row in await self.progress()}

    def relay(self) -> None:
        """Put what is new of the wiki into the topic."""
        for notification in self.wiki.recorder.select_notifications(self._position + 1, 10_000):
            record = self._writing.to_record(notification)
            self._chain.append(partition_of(record.key, self.partitions), record)
            self.put(record.key, record.value, record.headers, record.timestamp_ms)
            self._position = notification.id

    def put(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, Any]],
        timestamp: int | None = None,
    ) -> int:
        """Put a record into the topic, as anybody could; return its partition.

        One that names no predecessor, and could be of the relay, is linked to those before it.
        """
        partition = partition_of(key or b"", self.partitions)
        if link := self._link_to_be(key, headers):
            to_be = Record(key or b"", b"", headers, None, link.position, link.identity.encode())
            self._chain.append(partition, to_be)
        items = self._topic[partition]
        record = ConsumerRecord(
            "topic", partition, len(items), timestamp, 0, key, value, 0, 0, 0, headers
        )
        items.append(ConsumedRecord.of(record, self._reading, self.store.view.wanted))
        return partition
