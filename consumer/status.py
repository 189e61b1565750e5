"""How far a view is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.store import NOT_THERE, ViewStore
from consumer.tracking import Progress, Tracking
from producer.wire import KafkaSettings, Topics
from producer.wire.kafka import partitions_of, started

POLL_MS = 50


class PartitionStatus(msgspec.Struct, frozen=True):
    """How far a view is in one partition."""

    view: str
    partition: int
    position: int
    """The highest position applied."""
    offset: int
    """The Kafka offset to go on from."""
    gap: int
    """Offsets between that one and the last stable one: records, and transaction markers."""
    lag_seconds: float
    """The age of the oldest record not applied; 0 when there is none."""
    records: int
    """How many records the view has taken in."""
    parked: int
    """Events set aside, of all time and not yet retried or dropped."""
    dropped: int
    """Offsets given up for ever: dropped events, and what an operator had the view skip."""
    stopped: str | None
    """Why the partition stopped, if it did."""


async def read_status(store: ViewStore, settings: KafkaSettings) -> list[PartitionStatus]:
    """Compare the tracking of a view with the topic; nothing if there is no topic yet."""
    async with _reader(settings) as kafka:
        ends = await _ends(kafka, store, settings)
        progress = await _progress(store, [partition.partition for partition in ends])
        kafka.assign(list(ends))
        return [
            PartitionStatus(
                store.view.name,
                partition.partition,
                row.tracking.position,
                row.tracking.offset,
                gap := max(0, end - row.tracking.offset),
                await _lag(kafka, partition, row.tracking, end) if gap else 0.0,
                row.records,
                row.parked,
                row.dropped,
                row.stopped,
            )
            for partition, end in sorted(ends.items())
            for row in [progress[partition.partition]]
        ]


async def read_ends(store: ViewStore, settings: KafkaSettings) -> dict[int, int]:
    """Return the last stable offset of each partition; nothing if there is no topic yet."""
    async with _reader(settings) as kafka:
        ends = await _ends(kafka, store, settings)
        return {partition.partition: end for partition, end in ends.items()}


@asynccontextmanager
async def _reader(settings: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    isolated = {"isolation_level": "read_committed", "enable_auto_commit": False}
    async with started(AIOKafkaConsumer(**settings.client(), **isolated)) as kafka:
        yield kafka


async def _ends(
    kafka: AIOKafkaConsumer, store: ViewStore, settings: KafkaSettings
) -> dict[TopicPartition, int]:
    topic = Topics.of(store.view.application_name, settings).events
    numbers = range(await partitions_of(topic, settings))
    ends: dict[TopicPartition, int] = await kafka.end_offsets(
        [TopicPartition(topic, number) for number in numbers]
    )
    return ends


async def _progress(store: ViewStore, partitions: list[int]) -> dict[int, Progress]:
    nowhere = {number: Progress(Tracking(number, 0, 0), 0) for number in partitions}
    async with store.connected() as connection:
        try:
            rows = await store.tracking.progress(connection)
        except NOT_THERE:
            return nowhere  # No consumer has been here yet.
    return nowhere | {row.tracking.partition: row for row in rows}


async def _lag(
    kafka: AIOKafkaConsumer, partition: TopicPartition, tracking: Tracking, end: int
) -> float:
    kafka.seek(partition, tracking.offset)
    while await kafka.position(partition) < end:
        fetched = await kafka.getmany(partition, timeout_ms=POLL_MS, max_records=1)
        for record in fetched.get(partition, ()):
            return max(0.0, datetime.now(UTC).timestamp() - float(record.timestamp) / 1000)
    return 0.0  # Only transaction markers are left.
