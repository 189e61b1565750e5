"""A wiki whose topic is written by hand, so that anything can be wrong with it."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import anyio
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from anyio import to_thread
from msgspec.structs import astuple

from eventsourcing_kafka.compose.audit import Finding, Report, audit
from eventsourcing_kafka.compose.audit.records import TopicReader
from eventsourcing_kafka.consumer.engine.applying import Applied, Applier
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, Span
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.registry import view_named
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import user_id_cvar
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of, partitions_of
from eventsourcing_kafka.producer.wire import Record, WireFormat
from eventsourcing_kafka.producer.wire.chain import START
from eventsourcing_kafka.producer.wire.position import NOTHING, NOWHERE, Published, Said
from tests.chains import chained
from tests.pipeline import until

PARTITIONS = 3
USERS = [UUID(int=number) for number in (7, 8)]
VIEWS = ("fts", "activity")


@asynccontextmanager
async def written(environment: Mapping[str, str]) -> "AsyncIterator[Audited]":
    """Yield a wiki of some pages that two users created, edited and renamed."""
    wiki = await to_thread.run_sync(ContentManagement, environment)
    await to_thread.run_sync(edit, wiki)
    yield Audited(environment, wiki)
    await to_thread.run_sync(wiki.close)


def edit(wiki: ContentManagement) -> None:
    for number in range(5):
        user_id_cvar.set(USERS[number % 2])
        slug = f"page-{number}"
        wiki.create_page(f"Page {number}", slug)
        wiki.update_body(slug, f"first\nof {number}\n")
        wiki.update_body(slug, f"second\nof {number}\n")
    user_id_cvar.set(None)
    wiki.update_title("page-1", "Another title")
    wiki.update_slug("page-2", "page-two")


class Placed(NamedTuple):
    """A record, the partition to write it to, and the position of its notification."""

    position: int
    partition: int
    record: Record


class Audited:
    """A wiki, its topic, and its views."""

    def __init__(self, environment: Mapping[str, str], wiki: ContentManagement) -> None:
        self.environment = environment
        self.wiki = wiki
        self.settings = KafkaSettings.from_env(environment)
        self.topics = Topics.of(wiki.name, self.settings)
        self.wire = WireFormat.of(wiki)
        self.stores = {name: ViewStore.of(view_named(name), environment) for name in VIEWS}

    def placed(self) -> Iterator[Placed]:
        """Yield what a relay would publish."""
        notifications = self.wiki.recorder.select_notifications(1, 1_000_000)
        for record in chained(map(self.wire.to_record, notifications), PARTITIONS):
            yield Placed(record.link.position, partition_of(record.key, PARTITIONS), record)

    async def publish(
        self, placed: Iterable[Placed], *, position: int | None = None, commit: bool = True
    ) -> None:
        """Write records in a transaction of a producer of our own, with the relay's position."""
        producer = AIOKafkaProducer(
            **self.settings.client(), transactional_id=f"{self.topics.events}.by-hand"
        )
        async with started(producer):
            await producer.begin_transaction()
            reached, said = 0, [NOTHING] * PARTITIONS
            for at, partition, record in placed:
                key, value, headers, timestamp, *_ = record
                await producer.send(
                    self.topics.events,
                    value,
                    key=key,
                    partition=partition,
                    headers=headers,
                    timestamp_ms=timestamp,
                )
                reached = max(reached, at)
                said[partition] = Said(*record.link, NOWHERE, START.text, NOWHERE)
            published = Published(position or reached, PARTITIONS, "by hand", said)
            await producer.send(self.topics.position, msgspec.json.encode(published), key=b"relay")
            await (producer.commit_transaction if commit else producer.abort_transaction)()

    async def apply(self) -> None:
        """Apply all that is published, as a consumer does that has all partitions."""
        reader = await TopicReader.of(self.topics.events, self.settings)
        ends = await reader.ends()
        async with aclosing(reader.by_position(ends)) as reads:
            records = [read.record async for read, _ in reads]
        for store in self.stores.values():
            wire = WireFormat(self.wiki.name, store.view.types)
            async with store.connected() as connection:
                await store.prepare(connection, PARTITIONS)
                seen = await store.tracking.read(connection, range(PARTITIONS))
                spans = [
                    Span(
                        number,
                        seen[number].offset,
                        end,
                        [
                            ConsumedRecord.of(record, wire, store.view.wanted)
                            for record in records
                            if record.partition == number and record.offset >= seen[number].offset
                        ],
                    )
                    for number, end in ends.items()
                ]
                assert isinstance(await Applier(store).apply(connection, spans, seen), Applied)

    async def consume(self) -> None:
        """Run the consumers until they have applied all that is published."""
        async with anyio.create_task_group() as running:
            for store in self.stores.values():
                running.start_soon(Consumer(store, self.settings, grace=0).run)
            for store in self.stores.values():
                await until(partial(self._is_applied, store))
            running.cancel_scope.cancel()

    async def _is_applied(self, store: ViewStore) -> bool:
        reader = await TopicReader.of(self.topics.events, self.settings)
        async with store.connected() as connection:
            if not await store.exists(connection):
                return False
            seen = await store.tracking.read(connection, range(PARTITIONS))
        return {number: tracking.offset for number, tracking in seen.items()} == await reader.ends()

    async def change(self, view: str, statement: LiteralString) -> None:
        """Run a statement in a view's database. `{schema}` is its schema."""
        store = self.stores[view]
        async with store.connected() as connection:
            cursor = await connection.execute(store.sql(statement))
            assert cursor.rowcount == 1

    async def audit(self, *names: str, **options: Any) -> Report:
        return await audit(self.environment, names or VIEWS, **options)

    async def finding(self, *names: str) -> Finding:
        """Audit, and return the one thing that is found."""
        (finding,) = (await self.audit(*names)).findings
        return finding


async def create_topics(audited: Audited) -> None:
    """Make the topics, as the relay would."""
    topics, compacted = audited.topics, {"cleanup.policy": "compact"}
    async with started(AIOKafkaAdminClient(**audited.settings.client())) as admin:
        await admin.create_topics(
            [
                NewTopic(topics.events, PARTITIONS, 1),
                NewTopic(topics.position, 1, 1, topic_configs=compacted),
            ]
        )

    async def are_there() -> bool:
        return all([await partitions_of(name, audited.settings) for name in astuple(topics)])

    await until(are_there)
