"""How far the relay is, and what there is in its topic."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from eventsourcing_kafka.producer.kafka.clients import groupless_consumer, started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, retention_risks_of
from eventsourcing_kafka.producer.outbox import Outbox
from eventsourcing_kafka.producer.relay.resume import check_application, check_write_model
from eventsourcing_kafka.producer.relay.topics import TooLargeError, read_limit
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.wire import Record, WireError, WireFormat
from eventsourcing_kafka.producer.wire.position import Published, read_published

SMALL = 64 * 1024
"""Bytes of a record of which it is not asked whether its topic takes it."""


class RelayStatus(msgspec.Struct, frozen=True):
    """What is published, and what is not yet."""

    application: str
    topic: str
    position: int
    """All notifications up to here are published."""
    head: int
    """The highest position in the write model."""
    gap: int
    """Positions between the two: not looked at by the relay yet, so a hole counts."""
    lag_seconds: float
    """The age of the oldest notification that is not published; 0 when there is none."""
    owner: str | None
    """The host and the process of the relay that has its turn; None if nobody relays."""
    problem: str | None = None
    """Why the next notification can't be published; None if it can, or there is none."""


class TopicStatus(msgspec.Struct, frozen=True):
    """The events topic of an application, as Kafka has it."""

    topic: str
    partitions: int
    """0 before the relay has made it."""
    offsets: int
    """Before the last stable ones, over all partitions: records, and transaction markers."""
    under_replicated: int
    """Partitions that have fewer replicas in sync than they are to have."""
    ends: Sequence[int]
    """The last stable offset of each partition."""
    limits: Sequence[str] = ()
    """What in its settings deletes events, and what to do."""


async def read_status(outbox: Outbox, wire: WireFormat, settings: KafkaSettings) -> RelayStatus:
    """Compare the position topic with the outbox."""
    topics = Topics.of(wire.application_name, settings)
    published = await read_published(topics, settings)
    position = published.position if published else 0
    head = await outbox.head()
    gap = max(0, head - position)
    lag, problem = 0.0, await _refused(outbox, wire, topics, published)
    if gap and not problem and (notification := await outbox.first(position)):
        try:
            record = wire.to_record(notification)
            lag = _age(record)
            await _check_size(record, topics, settings)
        except (WireError, TooLargeError) as error:
            problem = str(error)
    owner = await outbox.owner()
    return RelayStatus(
        wire.application_name, topics.events, position, head, gap, lag, owner, problem
    )


async def _refused(
    outbox: Outbox, wire: WireFormat, topics: Topics, published: Published | None
) -> str | None:
    """Return why a relay would not begin, as far as can be told from here."""
    name = wire.application_name
    try:
        check_application(published, name, topics)
        await check_write_model(outbox, name, published, published.ends if published else ())
    except OperatorError as error:
        return str(error)
    return None


def _age(record: Record) -> float:
    """Return how many seconds ago the event of a record happened; 0 if it does not say."""
    at = record.timestamp_ms
    return max(0.0, datetime.now(UTC).timestamp() - at / 1000) if at else 0.0


async def _check_size(record: Record, topics: Topics, settings: KafkaSettings) -> None:
    """Raise `TooLargeError` if a record is too large for the topic, even if it is compressed."""
    if len(record.value) > SMALL and (limit := await read_limit(topics, settings)):
        compressed = len(gzip.compress(record.value))
        if compressed > limit:
            raise TooLargeError(record, topics, limit)


async def read_topic(application_name: str, settings: KafkaSettings) -> TopicStatus:
    """Read what there is of an application in Kafka, for readers of what is committed."""
    topic = Topics.of(application_name, settings).events
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        if topic not in await admin.list_topics():
            return TopicStatus(topic, 0, 0, 0, [])
        (partitions,) = [found["partitions"] for found in await admin.describe_topics([topic])]
        limits = await retention_risks_of(admin, topic)
    async with groupless_consumer(settings) as consumer:
        ends = await consumer.end_offsets(
            [TopicPartition(topic, described["partition"]) for described in partitions]
        )
    lacking = [each for each in partitions if len(each["isr"]) < len(each["replicas"])]
    offsets = [end for _, end in sorted(ends.items())]
    return TopicStatus(topic, len(partitions), sum(offsets), len(lacking), offsets, limits)
