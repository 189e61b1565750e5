"""Where the records of an application are: topic names and partitions."""

from __future__ import annotations

from functools import lru_cache
from typing import Self

import msgspec
from aiokafka.admin import AIOKafkaAdminClient

from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.compat import key_hash
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings


class Topics(msgspec.Struct, frozen=True):
    """The topics of one application."""

    events: str
    """Its notifications, a record each."""
    position: str
    """Compacted: up to where the relay has published them."""

    @classmethod
    def of(cls, application_name: str, settings: KafkaSettings) -> Self:
        """Name the topics of the application called `application_name`."""
        stem = f"{settings.topic_prefix}{application_name.lower()}"
        return cls(events=f"{stem}.events", position=f"{stem}.position")


@lru_cache(maxsize=1 << 16)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key, as Kafka's Java clients choose it (murmur2)."""
    return key_hash(key) % partitions


async def partitions_of(topic: str, settings: KafkaSettings) -> int:
    """Return how many partitions a topic has; 0 if there is no such topic."""
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        if topic not in await admin.list_topics():
            return 0
        (described,) = await admin.describe_topics([topic])
        return len(described["partitions"])
