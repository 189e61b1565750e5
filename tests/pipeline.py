"""The way from the wiki to its search view: the whole of it, or with no Kafka between."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, LiteralString, ParamSpec, TypeVar
from uuid import UUID

from aiokafka import TopicPartition
from eventsourcing.utils import get_topic
from psycopg import sql

from eventsourcing_kafka.consumer.engine.applying import OnError, Outcome
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.engine.tracking import Tracking, TrackingProgress
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, Slug
from eventsourcing_kafka.producer.kafka.clients import groupless_consumer
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.wire import Record, WireError
from eventsourcing_kafka.producer.wire.chain import Link
from eventsourcing_kafka.testing import SECONDS, PipelineUnderTest, ViewUnderTest, until

__all__ = ["SECONDS", "until"]

WIKI = get_topic(ContentManagement)
RELAY = ("producer", "relay", "-a", WIKI)
"""The command of the wiki's relay."""
ROOT = Path(__file__).parents[1]
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


class Pipeline(PipelineUnderTest):
    """The wiki, a relay, and some consumers of a view, on real servers."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        consumers: int = 1,
        relay: bool = True,
        view: View = VIEW,
    ) -> None:
        super().__init__([view], environment, ContentManagement, consumers=consumers, relay=relay)
        self.store = self.stores[view.name]

    @property
    def wiki(self) -> ContentManagement:
        """The write model."""
        wiki: ContentManagement = self.application
        return wiki

    def consumer(self, store: ViewStore | None = None, **options: Any) -> Consumer:
        """Return a consumer that does not run yet, and that has no time to finish when killed."""
        return super().consumer(store or self.store, **options)

    async def applied(self, store: ViewStore | None = None) -> None:
        """Wait until the view, or another one, has all that the wiki has."""
        await super().applied(store or self.store)

    async def write(self, slug: str, *bodies: str) -> UUID:
        """Create a page with these bodies, one after the other."""
        return await self.do(write_page, self.wiki, slug, *bodies)

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

    async def _is_at_the_ends(self) -> bool:
        trackings = await self.trackings()
        return {n: tracking.offset for n, tracking in trackings.items()} == await self.ends()


class WithoutKafka(ViewUnderTest):
    """A wiki in memory, and a view of it in Postgres, with no Kafka between."""

    def __init__(self, environment: Mapping[str, str], view: View = VIEW) -> None:
        wiki = ContentManagement({"MAX_BODY_BYTES": "4000000", "MAX_DIFF_BYTES": "9000000"})
        super().__init__(view, environment, wiki)

    @property
    def wiki(self) -> ContentManagement:
        """The write model."""
        wiki: ContentManagement = self.application
        return wiki

    async def catch_up(self, on_error: OnError = OnError.PARK) -> Outcome:
        """Apply all that the wiki has."""
        return await self.apply(on_error)

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
        self._place(partition, key, value, headers, timestamp)
        return partition
