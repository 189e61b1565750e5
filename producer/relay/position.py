"""The position record: up to where an application is published, in the same Kafka transaction."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from eventsourcing_kafka.producer.kafka.clients import groupless_consumer
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.relay.tails import Said

KEY = b"relay"
FIRST_STEP = 8
"""Offsets to go back at first. A transaction takes two; aborted ones may lie behind the last good
one."""


class Published(msgspec.Struct, frozen=True):
    """The value of a position record."""

    position: int
    """All notifications up to here are in the topic."""
    partitions: int
    """Over so many partitions. Another count would put an aggregate's events out of order."""
    instance: str
    """Which relay has written it: who finds another one's has been replaced."""
    said: Sequence[Said]
    """What the last record of each partition is to be, with this transaction."""


async def read_published(topics: Topics, settings: KafkaSettings) -> Published | None:
    """Return the last committed position record, reading from the end of its topic."""
    async with groupless_consumer(settings) as committed:
        return await last_published(committed, topics)


async def last_published(consumer: AIOKafkaConsumer, topics: Topics) -> Published | None:
    """Do the same, with a consumer that reads what is committed, and has no group."""
    if topics.position not in await consumer.topics():
        return None
    partition = TopicPartition(topics.position, 0)
    begin = (await consumer.beginning_offsets([partition]))[partition]
    end = (await consumer.end_offsets([partition]))[partition]
    # Only now, or it begins to fetch at the end, and what is read waits for that to time out.
    consumer.assign([partition])
    start, step, value = end, FIRST_STEP, None
    while start > begin and value is None:
        start, step = max(begin, end - step), step * FIRST_STEP
        value = await _last_value(consumer, partition, start, end)
    consumer.pause(partition)  # Or it would go on to fetch what comes.
    return msgspec.json.decode(value, type=Published) if value else None


async def _last_value(
    consumer: AIOKafkaConsumer, partition: TopicPartition, start: int, end: int
) -> bytes | None:
    consumer.seek(partition, start)
    last = None
    while await consumer.position(partition) < end:
        for record in (await consumer.getmany(partition, timeout_ms=50)).get(partition, ()):
            last = record.value
    return last
