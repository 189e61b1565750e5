"""Kafka transactions of records together with the position that they reach."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import chain, islice, zip_longest
from typing import Self

import anyio
import anyio.lowlevel
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from eventsourcing_kafka.producer.kafka.clients import groupless_consumer, started
from eventsourcing_kafka.producer.kafka.compat import (
    BatchBuilder,
    enlist_partitions,
    set_transaction_backoff,
    uncompressed_batch,
)
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.relay.topics import (
    LARGEST_RECORD_BYTES,
    TopicUnfitError,
    prepare_topics,
)
from eventsourcing_kafka.producer.wire import Record

logger = logging.getLogger(__name__)

BATCH_BYTES = 1024 * 1024
"""Of one Kafka record batch, before compression. A larger single record still goes."""

WORTH_COMPRESSING = 32 * 1024
"""Bytes of a transaction's events. To unpack a record batch, which a broker does to check it, takes
it half a millisecond however small it is: whoever waits for one event would wait for that, too."""

SLICE = 50
"""Records made up without a look at what has come of the batch before: a millisecond."""

TRANSACTION_TIMEOUT_MS = 30_000
"""After this long the broker aborts the transaction of a relay that died and has no successor."""

TRANSACTION_BACKOFF_SECONDS = 0.002
"""Kafka has ended a transaction a few milliseconds after it says so, and refuses the next one until
then."""


class Published(msgspec.Struct, frozen=True):
    """The value of a record in the position topic."""

    position: int
    """All notifications up to here are in the topic."""
    partitions: int
    """Over so many partitions. Another count would put an aggregate's events out of order."""


class Batch:
    """What one transaction publishes, as Kafka is to have it."""

    def __init__(self, position: int) -> None:
        self.position = position
        """All notifications up to here are in the topic then."""
        self.size = 0
        """How many records there are."""
        self.by_partition: defaultdict[int, list[BatchBuilder]] = defaultdict(list)


class Publisher:
    """Publishes for one application. There is one at a time: a new one fences the old one off."""

    def __init__(
        self, producer: AIOKafkaProducer, topics: Topics, partitions: int, settings: KafkaSettings
    ) -> None:
        self._producer = producer
        self._topics = topics
        self._partitions = partitions
        self._settings = settings

    @classmethod
    @asynccontextmanager
    async def connected(cls, application_name: str, settings: KafkaSettings) -> AsyncIterator[Self]:
        """Connect, make or check the topics, and fence off an earlier publisher."""
        topics = Topics.of(application_name, settings)
        async with started(AIOKafkaAdminClient(**settings.client())) as admin:
            partitions = await prepare_topics(admin, topics, settings)
        producer = AIOKafkaProducer(
            **settings.client(),
            transactional_id=transactional_id(application_name, settings),
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            acks="all",
            compression_type=settings.compression(),
            max_batch_size=BATCH_BYTES,
            max_request_size=LARGEST_RECORD_BYTES,
        )
        set_transaction_backoff(TRANSACTION_BACKOFF_SECONDS)
        async with started(producer):
            yield cls(producer, topics, partitions, settings)

    async def position(self) -> int:
        """Return up to where the application's notifications are published; 0 if none is.

        It is what the last committed transaction says: earlier publishers are fenced off by now,
        and their open transactions aborted. Raises `TopicUnfitError` if the events topic has
        another count of partitions than it had then.
        """
        async with groupless_consumer(self._settings) as committed:
            if await self._is_left_open(committed):
                await self._abort_what_is_left_open()
            last = await _last_published(committed, self._topics)
        expected = last.partitions if last else self._settings.topic_partitions
        if self._partitions != expected:
            raise TopicUnfitError(
                f"The topic {self._topics.events!r} has {self._partitions} partitions, and "
                + (
                    f"had {expected} when events were published to it. The events of an aggregate "
                    "would go to another partition than before, and lose their order. "
                    "Publish to a new topic: choose another KAFKA_TOPIC_PREFIX."
                    if last
                    else f"{expected} are configured: set KAFKA_TOPIC_PARTITIONS={self._partitions}"
                    ", or delete the topic."
                )
            )
        return last.position if last else 0

    async def _is_left_open(self, committed: AIOKafkaConsumer) -> bool:
        """Tell whether the last record of the position topic is in a transaction without an end.

        With all earlier publishers fenced off there is none, unless Kafka has lost its markers.
        """
        partition = TopicPartition(self._topics.position, 0)
        ends = await committed.end_offsets([partition])
        async with groupless_consumer(self._settings, committed=False) as everything:
            return bool(ends != await everything.end_offsets([partition]))

    async def _abort_what_is_left_open(self) -> None:
        """End what Kafka takes for ended, and has not marked so (KAFKA-20734).

        Else the next commit would bring it back, and its events are about to be published again.
        """
        logger.warning("Kafka has lost the end of a transaction: its events are published again")
        await self._producer.begin_transaction()
        events = [TopicPartition(self._topics.events, each) for each in range(self._partitions)]
        enlist_partitions(self._producer, [TopicPartition(self._topics.position, 0), *events])
        await self._producer.abort_transaction()

    async def batch(self, records: Iterator[Record], position: int) -> Batch:
        """Make up what one transaction publishes, while the one before it is under way.

        Each record is taken, added and let go: nothing of it is left but its bytes.
        """
        batch = Batch(position)
        first = list(islice(records, SLICE))
        small = len(first) < SLICE and sum(len(each.value) for each in first) < WORTH_COMPRESSING
        new_builder = _uncompressed if small else self._producer.create_batch
        for record in chain(first, records):
            partition = partition_of(record.key, self._partitions)
            builders = batch.by_partition[partition]
            if not builders or not _added(record, builders[-1]):
                builders.append(new_builder())
                _added(record, builders[-1])
            batch.size += 1
            if batch.size % SLICE == 0:
                await anyio.lowlevel.checkpoint()
        return batch

    async def publish(self, batch: Batch) -> None:
        """Publish a batch and the position that it reaches, all or nothing.

        An error leaves it open whether they are published: the position tells, after a new start.
        """
        await self._producer.begin_transaction()
        # First, so that Kafka hears at once of all the partitions that the transaction is about.
        deliveries = [await self._send(self._topics.position, 0, self._reached(batch.position))]
        # Round by round: a partition's next builder waits until the one before it has gone.
        for next_of_each in zip_longest(*batch.by_partition.values()):
            for partition, builder in zip(batch.by_partition, next_of_each, strict=True):
                if builder:
                    deliveries.append(await self._send(self._topics.events, partition, builder))
        await _all_delivered(deliveries)
        await self._producer.commit_transaction()

    def _reached(self, position: int) -> BatchBuilder:
        """Return what goes into the position topic."""
        published = msgspec.json.encode(Published(position, self._partitions))
        builder = _uncompressed()
        builder.append(key=b"relay", value=published, timestamp=None)
        return builder

    async def _send(
        self, topic: str, partition: int, builder: BatchBuilder
    ) -> asyncio.Future[object]:
        return _heard(await self._producer.send_batch(builder, topic, partition=partition))


def _uncompressed() -> BatchBuilder:
    return uncompressed_batch(BATCH_BYTES)


def transactional_id(application_name: str, settings: KafkaSettings) -> str:
    """Return what all publishers of an application call themselves, so that one fences another."""
    return f"{settings.group_prefix}{application_name.lower()}.relay"


def _added(record: Record, builder: BatchBuilder) -> bool:
    """Add a record, unless there is no more room. A larger single one still goes."""
    key, value, headers, timestamp = record
    added = builder.append(key=key, value=value, headers=headers, timestamp=timestamp)
    return added is not None


async def _all_delivered(deliveries: Iterable[asyncio.Future[object]]) -> None:
    """Wait for all, and raise the first error.

    They are not cancelled when we are: aiokafka still has them, and may have errors for them.
    """
    done, _ = await asyncio.wait(deliveries, return_when=asyncio.FIRST_EXCEPTION)
    for delivery in done:
        delivery.result()


def _heard(delivery: asyncio.Future[object]) -> asyncio.Future[object]:
    """Have asyncio not complain of an error that nobody waits for, after another one came first."""
    delivery.add_done_callback(lambda done: done.cancelled() or done.exception())
    return delivery


async def read_published(topics: Topics, settings: KafkaSettings) -> Published | None:
    """Return the last committed record of the position topic, reading from its end."""
    async with groupless_consumer(settings) as committed:
        return await _last_published(committed, topics)


async def _last_published(consumer: AIOKafkaConsumer, topics: Topics) -> Published | None:
    if topics.position not in await consumer.topics():
        return None
    partition = TopicPartition(topics.position, 0)
    begin = (await consumer.beginning_offsets([partition]))[partition]
    end = (await consumer.end_offsets([partition]))[partition]
    # Only now, or it begins to fetch at the end, and what is read waits for that to time out.
    consumer.assign([partition])
    step = 8  # A transaction takes two offsets; aborted ones may lie behind the last good one.
    start = end
    while start > begin:
        start, step = max(begin, end - step), step * 8
        if value := await _last_value(consumer, partition, start, end):
            return msgspec.json.decode(value, type=Published)
    return None


async def _last_value(
    consumer: AIOKafkaConsumer, partition: TopicPartition, start: int, end: int
) -> bytes | None:
    consumer.seek(partition, start)
    last = None
    while await consumer.position(partition) < end:
        for record in (await consumer.getmany(partition, timeout_ms=50)).get(partition, ()):
            last = record.value
    return last
