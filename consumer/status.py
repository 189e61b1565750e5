"""How far a view is."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import msgspec
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.tracking import Tracking
from consumer.view import ViewStore
from producer.wire import KafkaSettings, Topics
from producer.wire.kafka import partitions_of, started

NEXT_RECORD_SECONDS = 5.0


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


async def read_status(store: ViewStore, settings: KafkaSettings) -> list[PartitionStatus]:
    """Compare the tracking of a view with the topic; nothing if there is no topic yet."""
    topic = Topics.of(store.view.application_name, settings).events
    kafka = AIOKafkaConsumer(
        **settings.client(), isolation_level="read_committed", enable_auto_commit=False
    )
    async with started(kafka):
        partitions = list(range(await partitions_of(topic, settings)))
        trackings = await _trackings(store, partitions)
        ends = await kafka.end_offsets([TopicPartition(topic, number) for number in partitions])
        kafka.assign(list(ends))
        return [
            PartitionStatus(
                store.view.name,
                partition.partition,
                trackings[partition.partition].position,
                trackings[partition.partition].offset,
                gap := max(0, end - trackings[partition.partition].offset),
                await _lag(kafka, partition, trackings[partition.partition]) if gap else 0.0,
            )
            for partition, end in sorted(ends.items())
        ]


async def _trackings(store: ViewStore, partitions: list[int]) -> dict[int, Tracking]:
    nowhere = {partition: Tracking(partition, 0, 0) for partition in partitions}
    async with store.connected() as connection:
        try:
            return {**nowhere, **await store.tracking.read(connection, partitions)}
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return nowhere  # No consumer has been here yet.


async def _lag(kafka: AIOKafkaConsumer, partition: TopicPartition, tracking: Tracking) -> float:
    kafka.seek(partition, tracking.offset)
    with anyio.move_on_after(NEXT_RECORD_SECONDS):
        record = await kafka.getone(partition)
        return max(0.0, datetime.now(UTC).timestamp() - float(record.timestamp) / 1000)
    return 0.0  # Only transaction markers are left.
