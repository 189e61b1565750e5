"""Makes the topics of an application with explicit settings, and checks those that are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.runtime.errors import OperatorError

FOR_EVER = "-1"
USUAL_REPLICAS = 3
LARGEST_RECORD_BYTES = 2 * 1024 * 1024

EVENTS_CONFIG = {
    # The log is the source of every replay: what is deleted can't be replayed.
    "cleanup.policy": "delete",
    "retention.ms": FOR_EVER,
    "retention.bytes": FOR_EVER,
    "max.message.bytes": str(LARGEST_RECORD_BYTES),
    # An event of a machine with a wrong clock must not be refused: it has happened.
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**63 - 1),
    "message.timestamp.before.max.ms": str(2**63 - 1),
}
POSITION_CONFIG = {
    "cleanup.policy": "compact",
    # Small segments, so that compaction keeps the topic short: one record a transaction comes in.
    "segment.bytes": str(16 * 1024 * 1024),
}


class TopicUnfitError(OperatorError):
    """A topic that is there can't carry the events: another count of partitions, or compaction."""


async def prepare_topics(
    admin: AIOKafkaAdminClient, topics: Topics, settings: KafkaSettings
) -> int:
    """Create what is missing, check what is there, and return the partitions of the events topic.

    Raises `TopicUnfitError` with what to do.
    """
    await _create(admin, topics, settings)
    # A topic is not known everywhere in the moment when it is made.
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(UnknownTopicOrPartitionError),
        wait=wait_fixed(0.05),
        stop=stop_after_delay(10),
        sleep=anyio.sleep,
        reraise=True,
    ):
        with attempt:
            partitions = await _checked(admin, topics)
    return partitions


async def _checked(admin: AIOKafkaAdminClient, topics: Topics) -> int:
    await _check_policies(admin, {topics.events: "delete", topics.position: "compact"})
    events, position = [await _partitions(admin, name) for name in (topics.events, topics.position)]
    if position != 1:
        raise TopicUnfitError(f"The topic {topics.position!r} must have exactly one partition.")
    return events


async def _create(admin: AIOKafkaAdminClient, topics: Topics, settings: KafkaSettings) -> None:
    brokers = len((await admin.describe_cluster())["brokers"])
    replicas = settings.topic_replication_factor or min(USUAL_REPLICAS, brokers)
    partitions = settings.topic_partitions
    response = await admin.create_topics(
        [
            NewTopic(topics.events, partitions, replicas, topic_configs=EVENTS_CONFIG),
            NewTopic(topics.position, 1, replicas, topic_configs=POSITION_CONFIG),
        ]
    )
    for _, code, message in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(message)


async def _partitions(admin: AIOKafkaAdminClient, name: str) -> int:
    (topic,) = await admin.describe_topics([name])
    if topic["error_code"]:
        raise for_code(topic["error_code"])(name)
    return len(topic["partitions"])


async def _check_policies(admin: AIOKafkaAdminClient, policies: Mapping[str, str]) -> None:
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, name, {"cleanup.policy": None})
        for name in policies
    ]
    for response in await admin.describe_configs(resources):
        for code, message, _, name, entries in response.resources:
            if code:
                raise for_code(code)(message)
            actual = _entry(entries, "cleanup.policy")
            if actual != policies[name]:
                raise TopicUnfitError(
                    f"The topic {name!r} has cleanup.policy={actual}, and needs {policies[name]}. "
                    f"Change it with kafka-configs, or choose another KAFKA_TOPIC_PREFIX."
                )


def _entry(entries: list[Any], name: str) -> str | None:
    return next((str(entry[1]) for entry in entries if entry[0] == name), None)
