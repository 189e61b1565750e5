"""Kafka transactions of records together with the position that they reach."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain, islice, zip_longest
from typing import Any, NamedTuple, Self

import anyio
import anyio.lowlevel
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import MessageSizeTooLargeError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from eventsourcing_kafka.producer.kafka.clients import groupless_consumer, started
from eventsourcing_kafka.producer.kafka.compat import (
    BatchBuilder,
    CompressingBatch,
    ask_once,
    enlist_partitions,
    failing_as_its_transaction,
    set_transaction_backoff,
    transact_in_the_newer_way,
    uncompressed_batch,
)
from eventsourcing_kafka.producer.kafka.ranges import bounds_of
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.relay.resume import check_application
from eventsourcing_kafka.producer.relay.tails import (
    EMPTY,
    Tail,
    are_there,
    find_tails,
)
from eventsourcing_kafka.producer.relay.topics import (
    LARGEST_RECORD_BYTES,
    TooLargeError,
    TopicUnfitError,
    prepare_topics,
    read_limit,
)
from eventsourcing_kafka.producer.runtime.retry import SessionLostError
from eventsourcing_kafka.producer.wire import Record, WireError, WireFormat
from eventsourcing_kafka.producer.wire.chain import Chain, Link
from eventsourcing_kafka.producer.wire.position import (
    KEY,
    NOTHING,
    NOWHERE,
    Published,
    Said,
    last_published,
)
from eventsourcing_kafka.producer.wire.records import own_envelope

logger = logging.getLogger(__name__)

BATCH_BYTES = 1024 * 1024
"""Of one Kafka record batch, before compression. A larger single record still goes."""

WORTH_COMPRESSING = 32 * 1024
"""Bytes of a transaction's events. A broker unpacks each compressed record batch to check it, which
takes half a millisecond however small it is: who waits for one event would wait for that, too."""

SLICE = 50
"""Records that are encoded before other tasks have their turn again: a millisecond."""

TRANSACTION_TIMEOUT_MS = 30_000
"""After this long the broker aborts the transaction of a relay that died and has no successor."""

TRANSACTION_BACKOFF_SECONDS = 0.002
"""Kafka has ended a transaction a few milliseconds after it says so, and refuses the next one until
then."""

MARKER_SECONDS = 3.0
"""So long the markers of a transaction that was ended may take."""
ANSWER_SECONDS = 8.0
"""So long Kafka may take to tell what it has. Of a topic that is deleted aiokafka asks for ever."""
LOOK_SECONDS = 0.02


class LostRecordsError(SessionLostError):
    """Kafka has lost what it had acknowledged: to be found out by a new session."""


class LeftOpenError(SessionLostError):
    """A transaction is open that we can't end: of somebody else, or Kafka takes its time."""


class Batch:
    """What one transaction publishes: record batches as Kafka has them, by partition."""

    def __init__(self, position: int) -> None:
        self.position = position
        """All notifications up to here are in the topic once it is published."""
        self.size = 0
        """How many records there are."""
        self.by_partition: defaultdict[int, list[BatchBuilder]] = defaultdict(list)
        self.last: dict[int, Record] = {}
        """The last record of each partition."""
        self.largest: Record | None = None
        self.compressed: asyncio.Future[None] | None = None
        """Is done when it is; without one it goes as it is."""

    def compress(self) -> None:
        """Compress it, in a thread of its own."""
        for builder in chain.from_iterable(self.by_partition.values()):
            builder.compress()


class _End:
    """Where a partition ends, as far as this session knows."""

    def __init__(self, partition: TopicPartition, tail: Tail, end: int) -> None:
        self.partition = partition
        self.tail = tail
        """The last record that is acknowledged, or was there before."""
        self.next = end
        """The lowest offset that the next record can get."""

    def said(self, last: Record | None, records: int) -> Said:
        """Return what a position record says, if its transaction brings so many records."""
        before, offset = self.tail
        if last is None:
            return Said(*before, offset, before.text, offset)
        return Said(*last.link, self.next + records - 1, before.text, offset)

    def acknowledged(self, offset: int, records: int) -> None:
        """Take note of where records are. Raises `LostRecordsError` if others must have been."""
        if offset < self.next:
            raise LostRecordsError(
                f"Kafka has put records at offset {offset} of {self.partition.topic} "
                f"{self.partition.partition}, where it had others: it has lost its last ones"
            )
        self.next = offset + records


class _Sent(NamedTuple):
    """A record batch on its way."""

    to: _End
    records: int
    delivery: asyncio.Future[Any]


class Publisher:
    """Appends to one application's topic. There is one at a time: a new one fences the old one off.

    At most one request of a transaction is without an answer when it ends: whatever comes late is
    refused by Kafka, since the next publisher has another epoch.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        committed: AIOKafkaConsumer,
        topics: Topics,
        partitions: int,
        settings: KafkaSettings,
        wire: WireFormat,
        instance: str,
    ) -> None:
        self.last: Published | None = None
        """The last position record, as this publisher has found it."""
        self.tails: list[Tail] = []
        """The last record of each partition, likewise."""
        self._producer = producer
        self._committed = committed
        self._topics = topics
        self._events = [TopicPartition(topics.events, number) for number in range(partitions)]
        self._settings = settings
        self._wire = wire
        self._instance = instance
        self._position_end = _End(TopicPartition(topics.position, 0), EMPTY, 0)
        self._ends: list[_End] = []
        self._chain = Chain([])
        """The end of each partition, with what is encoded and still to be published."""
        self._publishing = anyio.Lock()

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, wire: WireFormat, settings: KafkaSettings, instance: str
    ) -> AsyncIterator[Self]:
        """Connect, fence off an earlier publisher, and find out what there is.

        Makes the topics where they are not there. Raises `TopicUnfitError` if they can't carry the
        events, as with another count of partitions than when events were published to them.
        """
        name = wire.application_name
        topics = Topics.of(name, settings)
        if wire.ordered_as_a_whole:
            settings = msgspec.structs.replace(settings, topic_partitions=1)
        async with started(AIOKafkaAdminClient(**settings.client())) as admin:
            partitions = await prepare_topics(admin, topics, settings)
        producer = AIOKafkaProducer(
            **settings.client(),
            transactional_id=transactional_id(name, settings),
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            acks="all",
            compression_type=settings.compression(),
            max_batch_size=BATCH_BYTES,
            max_request_size=LARGEST_RECORD_BYTES,
        )
        ask_once(producer)
        set_transaction_backoff(TRANSACTION_BACKOFF_SECONDS)
        async with started(producer), groupless_consumer(settings) as committed:
            publisher = cls(producer, committed, topics, partitions, settings, wire, instance)
            await publisher._find_ends()
            # Not before: what is open of others is ended by taking part, and appending nothing.
            await transact_in_the_newer_way(producer)
            yield publisher

    async def _find_ends(self) -> None:
        """Find out what there is: earlier publishers are fenced off by now.

        What Kafka takes for ended, and has not marked so (KAFKA-20734), is ended first: the next
        commit would bring it back.
        """
        await self._end_what_is_open()
        self.last = last = await last_published(self._committed, self._topics)
        self._check_partitions(last)
        check_application(last, self._wire.application_name, self._topics)
        bounds = await bounds_of(self._committed, [self._position_end.partition, *self._events])
        self._position_end.next = bounds.pop(self._position_end.partition).end
        said = dict(zip(self._events, last.said if last else [], strict=False))
        tails = await find_tails(
            self._committed,
            bounds,
            {partition: said.get(partition, NOTHING) for partition in self._events},
            self._link_of,
        )
        self._ends = [
            _End(partition, tails[partition], bounds[partition].end) for partition in self._events
        ]
        self._chain = Chain(tails[partition].link for partition in self._events)
        self.tails = [tails[partition] for partition in self._events]

    def _check_partitions(self, last: Published | None) -> None:
        there = len(self._events)
        expected = last.partitions if last else self._settings.topic_partitions
        if there != expected:
            raise TopicUnfitError(
                f"The topic {self._topics.events!r} has {there} partitions, and "
                + (
                    f"had {expected} when events were published to it. The events of an aggregate "
                    "would go to another partition than before, and lose their order. "
                    "Publish to a new topic: choose another KAFKA_TOPIC_PREFIX."
                    if last
                    else f"all events of {self._wire.application_name} belong in one, as they are "
                    "ordered as a whole: delete the topic, or name the tags to key them by, "
                    "--partition-by-tag PREFIX."
                    if self._wire.ordered_as_a_whole
                    else f"{expected} are configured: set KAFKA_TOPIC_PARTITIONS={there}"
                    ", or delete the topic."
                )
            )

    def _link_of(self, record: ConsumerRecord) -> Link | None:
        try:
            return own_envelope(record, self._wire, len(self._events)).link
        except WireError:
            return None

    async def _end_what_is_open(self) -> None:
        """Abort transactions that are open, and wait until no partition has one.

        With all earlier publishers fenced off there is none, unless Kafka has lost its markers.
        """
        async with groupless_consumer(self._settings, committed=False) as everything:
            if not await self._open_partitions(everything):
                return
            logger.warning(
                "Kafka has lost the end of a transaction: its events are published again"
            )
            with failing_as_its_transaction(self._producer):
                await self._producer.begin_transaction()
                enlist_partitions(self._producer, [self._position_end.partition, *self._events])
                await self._producer.abort_transaction()
            async for attempt in _looking_again(LeftOpenError, MARKER_SECONDS):
                with attempt:
                    if still_open := await self._open_partitions(everything):
                        raise LeftOpenError(
                            f"A transaction is open in {', '.join(still_open)}: "
                            "kafka-transactions describe-producers tells whose it is"
                        )

    async def _open_partitions(self, everything: AIOKafkaConsumer) -> list[str]:
        partitions = [self._position_end.partition, *self._events]
        stable = await self._committed.end_offsets(partitions)
        ends = await everything.end_offsets(partitions)
        return [
            f"{each.topic} {each.partition}" for each in partitions if stable[each] < ends[each]
        ]

    async def batch(self, records: Iterator[Record], position: int) -> Batch:
        """Encode what the next transaction publishes, while the one before it is under way.

        Each record names its predecessor. One that its partition has already is passed over, as
        when Kafka has lost others. Of each record nothing is kept but its bytes.
        """
        batch = Batch(position)
        first = list(islice(records, SLICE))
        small = len(first) < SLICE and sum(len(each.value) for each in first) < WORTH_COMPRESSING
        new_builder = _uncompressed if small else self._compressing
        for number, record in enumerate(chain(first, records), 1):
            partition = partition_of(record.key, len(self._events))
            if self._chain.append(partition, record):
                builders = batch.by_partition[partition]
                if not builders or not _added(record, builders[-1]):
                    builders.append(new_builder())
                    _added(record, builders[-1])
                batch.last[partition] = record
                if not batch.largest or len(record.value) > len(batch.largest.value):
                    batch.largest = record
                batch.size += 1
            if number % SLICE == 0:
                await anyio.lowlevel.checkpoint()
        if not small:
            # While the one before it is under way, and the next one is encoded.
            compressed = asyncio.get_running_loop().run_in_executor(None, batch.compress)
            batch.compressed = _unlogged(compressed)
        return batch

    def _compressing(self) -> CompressingBatch:
        return CompressingBatch.of(self._producer, BATCH_BYTES)

    async def publish(self, batch: Batch) -> None:
        """Publish a batch and the position that it reaches, all or nothing.

        An error leaves it open whether they are published: a new publisher finds out. Raises
        `LostRecordsError` when Kafka puts them where it had others, and `TooLargeError` when it
        takes none so large.
        """
        if batch.compressed:
            await batch.compressed
        async with self._publishing:
            try:
                with failing_as_its_transaction(self._producer):
                    await self._producer.begin_transaction()
                    sent = await self._send_all(batch)
                    await _all_delivered(each.delivery for each in sent)
                    self._take_note(sent, batch)
                    await self._producer.commit_transaction()
            except MessageSizeTooLargeError as error:
                assert batch.largest  # noqa: S101 - a position record is small
                limit = await read_limit(self._topics, self._settings)
                raise TooLargeError(batch.largest, self._topics, limit) from error
            for end in {each.to for each in sent}:
                end.next += 1  # The marker of the transaction.

    async def _send_all(self, batch: Batch) -> list[_Sent]:
        # First, so that Kafka hears at once of all partitions that the transaction is about.
        sent = [await self._send(self._position_end, self._position_record(batch))]
        # Round by round: a partition's next builder waits until the one before it has gone.
        for next_of_each in zip_longest(*batch.by_partition.values()):
            for partition, builder in zip(batch.by_partition, next_of_each, strict=True):
                if builder:
                    sent.append(await self._send(self._ends[partition], builder))
        return sent

    def _take_note(self, sent: list[_Sent], batch: Batch) -> None:
        for to, records, delivery in sent:
            to.acknowledged(delivery.result().offset, records)
        for partition, record in batch.last.items():
            end = self._ends[partition]
            end.tail = Tail(record.link, end.next - 1)

    def _position_record(self, batch: Batch) -> BatchBuilder:
        """Return the record batch for the position topic."""
        said = [
            end.said(
                batch.last.get(number),
                sum(builder.record_count() for builder in batch.by_partition.get(number, ())),
            )
            for number, end in enumerate(self._ends)
        ]
        published = Published(
            batch.position, len(self._events), self._instance, said, self._wire.application_name
        )
        builder = _uncompressed()
        builder.append(key=KEY, value=msgspec.json.encode(published), timestamp=None)
        return builder

    async def _send(self, to: _End, builder: BatchBuilder) -> _Sent:
        topic, partition = to.partition
        records = builder.record_count()
        delivery = await self._producer.send_batch(builder, topic, partition=partition)
        return _Sent(to, records, _unlogged(delivery))

    async def check_tails(self) -> None:
        """Raise `LostRecordsError` if Kafka no longer has what it has acknowledged."""
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                await self._check_topics()
            async with self._publishing:
                ends = {end.partition: end.next for end in [self._position_end, *self._ends]}
                tails = {e.partition: e.tail for e in self._ends if e.tail.offset != NOWHERE}
            with anyio.fail_after(ANSWER_SECONDS):
                await self._check_ends(ends)
                there = await are_there(self._committed, tails, self._link_of)
        except TimeoutError as error:
            raise LostRecordsError(
                f"Kafka does not tell what {self._topics.events} has: is it deleted?"
            ) from error
        if not there:
            raise LostRecordsError(f"Kafka has lost the last records of {self._topics.events}")

    async def _check_topics(self) -> None:
        """Look whether they are there, whatever is under way: a transaction would wait for them."""
        there = await self._committed.topics()
        if missing := {self._topics.events, self._topics.position} - there:
            raise LostRecordsError(f"Kafka no longer has the topic {' and '.join(sorted(missing))}")

    async def _check_ends(self, ends: Mapping[TopicPartition, int]) -> None:
        async for attempt in _looking_again(LostRecordsError, MARKER_SECONDS):
            with attempt:  # A marker comes a little later than its answer.
                if short := await self._shorter_than(ends):
                    raise LostRecordsError(f"Kafka has lost the end of {', '.join(short)}")

    async def _shorter_than(self, ends: Mapping[TopicPartition, int]) -> list[str]:
        found = await self._committed.end_offsets(ends)
        return [f"{each.topic} {each.partition}" for each, end in ends.items() if found[each] < end]


def _looking_again(error: type[Exception], seconds: float) -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(error),
        wait=wait_fixed(LOOK_SECONDS),
        stop=stop_after_delay(seconds),
        sleep=anyio.sleep,
        reraise=True,
    )


def _uncompressed() -> BatchBuilder:
    return uncompressed_batch(BATCH_BYTES)


def transactional_id(application_name: str, settings: KafkaSettings) -> str:
    """Return the transactional ID that an application's publishers share: one fences another."""
    return f"{settings.group_prefix}{application_name.lower()}.relay"


def _added(record: Record, builder: BatchBuilder) -> bool:
    """Add a record unless there is no room for it; the first one is added whatever its size."""
    added = builder.append(
        key=record.key, value=record.value, headers=record.headers, timestamp=record.timestamp_ms
    )
    return added is not None


async def _all_delivered(deliveries: Iterable[asyncio.Future[Any]]) -> None:
    """Wait for all, and raise the first error.

    Cancelled, it leaves them alone: aiokafka still works on them, and may set errors.
    """
    done, _ = await asyncio.wait(list(deliveries), return_when=asyncio.FIRST_EXCEPTION)
    for delivery in done:
        delivery.result()


def _unlogged(delivery: asyncio.Future[Any]) -> asyncio.Future[Any]:
    """Keep asyncio from logging an error that nobody waits for, after another one came first."""
    delivery.add_done_callback(lambda done: done.cancelled() or done.exception())
    return delivery
