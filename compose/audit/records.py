"""Reads the records of a topic, a few at a time, all partitions beside each other."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple, Self

import anyio
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import partitions_of
from eventsourcing_kafka.producer.runtime.errors import OperatorError

POLL_MS = 200
FETCH_RECORDS = 500

OPEN_TRANSACTION_SECONDS = 90.0
"""A relay's transaction is ended by the broker long before that."""

MAX_POSITION_DIGITS = 18
"""Digits."""


class OpenTransactionError(OperatorError):
    """A transaction in the topic does not end, so nothing behind it can be read."""


class PositionedRecord(NamedTuple):
    """A record, and the position that it claims, if any."""

    position: int | None
    record: ConsumerRecord

    @classmethod
    def of(cls, record: ConsumerRecord) -> Self:
        """Read the one header by which a record can be compared at all."""
        for name, value in record.headers:
            if name == "ce_position":
                readable = value and value.isdigit() and len(value) <= MAX_POSITION_DIGITS
                return cls(int(value) if readable else None, record)
        return cls(None, record)


class PartitionReader:
    """What is left of the records of one partition, up to an offset."""

    def __init__(self, consumer: AIOKafkaConsumer, partition: TopicPartition, end: int) -> None:
        self._consumer = consumer
        self._partition = partition
        self._end = end
        self._fetched: deque[PositionedRecord] = deque()

    async def peek(self) -> PositionedRecord | None:
        """Return the next record without taking it; None at the end."""
        if not self._fetched:
            with anyio.move_on_after(OPEN_TRANSACTION_SECONDS) as waiting:
                await self._fetch()
            if waiting.cancelled_caught:
                raise OpenTransactionError(
                    f"{self._partition.topic}, partition {self._partition.partition}: nothing "
                    f"comes, though it goes on until offset {self._end}. Is a transaction open? "
                    "Kafka's tool shows it: kafka-transactions find-hanging"
                )
        return self._fetched[0] if self._fetched else None

    def take(self) -> PositionedRecord:
        """Take the next record."""
        return self._fetched.popleft()

    async def _fetch(self) -> None:
        at = self._partition
        while not self._fetched and await self._consumer.position(at) < self._end:
            fetched = await self._consumer.getmany(
                at, timeout_ms=POLL_MS, max_records=FETCH_RECORDS
            )
            self._fetched.extend(
                PositionedRecord.of(record)
                for record in fetched.get(at, ())
                if record.offset < self._end
            )


class TopicReader:
    """Reads a topic as a read_committed consumer sees it, in no group."""

    def __init__(self, topic: str, partitions: int, settings: KafkaSettings) -> None:
        self.partitions = partitions
        self._topic = topic
        self._settings = settings

    @classmethod
    async def of(cls, topic: str, settings: KafkaSettings) -> Self:
        """Ask for the partitions of a topic; a topic that is not there has none."""
        return cls(topic, await partitions_of(topic, settings), settings)

    async def ends(self) -> Mapping[int, int]:
        """Return the offset after the last record of each partition, of open transactions too.

        A transaction that has committed may look open for a moment longer.
        """
        async with self._consumer("read_uncommitted") as consumer:
            every = [TopicPartition(self._topic, number) for number in range(self.partitions)]
            ends = await consumer.end_offsets(every)
            return {partition.partition: end for partition, end in ends.items()}

    async def begins(self) -> Mapping[int, int]:
        """Return the offset that each partition begins with: what was before is deleted."""
        async with self._consumer("read_committed") as consumer:
            every = [TopicPartition(self._topic, number) for number in range(self.partitions)]
            begins = await consumer.beginning_offsets(every)
            return {partition.partition: begin for partition, begin in begins.items()}

    async def by_position(
        self, ends: Mapping[int, int]
    ) -> AsyncGenerator[tuple[PositionedRecord, PositionedRecord | None], None]:
        """Yield all records, each with the next one of its partition.

        Of the partitions the one with the lowest position comes first: where each of them is in
        order, all of it is. Nothing but a few records of each is in memory.
        """
        async with self._partition_readers(ends) as readers:
            firsts = [(await reader.peek(), number) for number, reader in readers.items()]
            waiting = [(read.position or 0, number) for read, number in firsts if read]
            heapify(waiting)
            while waiting:
                _, number = waiting[0]
                read, following = readers[number].take(), await readers[number].peek()
                yield read, following
                if following:
                    heapreplace(waiting, (following.position or 0, number))
                else:
                    heappop(waiting)

    async def positions(self, partition: int, first: int, last: int) -> AsyncGenerator[int, None]:
        """Yield the positions of the records from one offset to another, both included."""
        async with self._partition_readers({partition: last + 1}, {partition: first}) as readers:
            while read := await readers[partition].peek():
                readers[partition].take()
                if read.position is not None:
                    yield read.position

    @asynccontextmanager
    async def _partition_readers(
        self, ends: Mapping[int, int], starts: Mapping[int, int] | None = None
    ) -> AsyncIterator[Mapping[int, PartitionReader]]:
        async with self._consumer("read_committed") as consumer:
            partitions = {number: TopicPartition(self._topic, number) for number in ends}
            consumer.assign(list(partitions.values()))
            begins = await consumer.beginning_offsets(list(partitions.values()))
            for number, partition in partitions.items():
                start = starts[number] if starts else 0
                consumer.seek(partition, max(start, begins[partition]))
            yield {
                number: PartitionReader(consumer, partition, ends[number])
                for number, partition in partitions.items()
            }

    @asynccontextmanager
    async def _consumer(self, isolation_level: str) -> AsyncIterator[AIOKafkaConsumer]:
        async with started(
            AIOKafkaConsumer(
                **self._settings.client(), isolation_level=isolation_level, enable_auto_commit=False
            )
        ) as consumer:
            yield consumer
