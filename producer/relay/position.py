"""The position record: up to where an application is published, in the same Kafka transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from eventsourcing_kafka.producer.kafka.clients import groupless_consumer
from eventsourcing_kafka.producer.kafka.ranges import Bounds, bounds_of, records_in, steps_back
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.relay.tails import Said

KEY = b"relay"


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
    begin, end = (await bounds_of(consumer, [partition]))[partition]
    for start in steps_back(begin, end):
        value = None
        async with aclosing(records_in(consumer, {partition: Bounds(start, end)})) as fetched:
            async for _, records in fetched:
                value = records[-1].value
        if value:
            return msgspec.json.decode(value, type=Published)
    return None
