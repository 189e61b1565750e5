"""Where the records of an application are: topic names and partitions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Self

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAuthorizationFailedError, for_code

from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.compat import key_hash
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings

FOR_EVER = "-1"
RETENTION = ("retention.ms", "retention.bytes")


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


async def read_retention_risks(application_name: str, settings: KafkaSettings) -> Sequence[str]:
    """Say what in the settings of the events topic deletes events, and what to do.

    Nothing is said if there is no topic yet, or if we may not read its settings.
    """
    topic = Topics.of(application_name, settings).events
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        if topic not in await admin.list_topics():
            return ()
        return await retention_risks_of(admin, topic)


async def retention_risks_of(admin: AIOKafkaAdminClient, topic: str) -> Sequence[str]:
    """Do the same of an events topic that is there."""
    try:
        configs = await read_configs(admin, [topic], RETENTION)
    except TopicAuthorizationFailedError:
        return ()
    return retention_risks(topic, configs[topic])


def retention_risks(topic: str, config: Mapping[str, str]) -> Sequence[str]:
    """Say which settings of an events topic delete events, and what to do."""
    return [
        f"The topic {topic} does not keep its events for ever, {name} is {config[name]}: what was "
        "deleted a view that is made anew, or comes late, reads from the write model, or it stops. "
        f"Give its consumers the settings of the application; or keep all. "
        f"{how_to_set(topic, name, FOR_EVER)}"
        for name in RETENTION
        if config[name] != FOR_EVER
    ]


def how_to_set(topic: str, name: str, value: str) -> str:
    """Return the command that sets a topic's setting."""
    return (
        "Set it: eventsourcing-kafka compose kafka configs --alter --entity-type topics "
        f"--entity-name {topic} --add-config {name}={value}"
    )


async def read_configs(
    admin: AIOKafkaAdminClient, topics: Sequence[str], names: Collection[str]
) -> Mapping[str, Mapping[str, str]]:
    """Read some settings of topics, by topic."""
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(names)) for topic in topics
    ]
    configs: dict[str, Mapping[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _, topic, entries in response.resources:
            if code:
                raise for_code(code)(message)
            configs[topic] = {entry[0]: str(entry[1]) for entry in entries}
    return configs
