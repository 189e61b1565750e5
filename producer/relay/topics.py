"""Makes the topics of an application with explicit settings, and checks those that are there."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import anyio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import (
    FOR_EVER,
    RETENTION,
    Topics,
    how_to_set,
    read_configs,
    retention_risks,
)
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.wire import Record

logger = logging.getLogger(__name__)

USUAL_REPLICAS = 3
IN_SYNC = 2
"""Replicas that must have a record before it counts as written, where there are enough of them."""
LARGEST_RECORD_BYTES = 2 * 1024 * 1024
HEADERS_BYTES = 4096
"""Room for what a record has beside its value."""
LIMIT = "max.message.bytes"

EVENTS_CONFIG = {
    "cleanup.policy": "delete",
    LIMIT: str(LARGEST_RECORD_BYTES),
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
CHECKED = ("cleanup.policy", *RETENTION, "min.insync.replicas", LIMIT)
"""The settings that are looked at in a topic that is there."""


class TopicUnfitError(OperatorError):
    """A topic that is there can't carry the events: another count of partitions, or compaction."""


class _Topic(NamedTuple):
    """A topic that is there."""

    name: str
    partitions: int
    replicas: int
    """Of the partition that has the fewest."""
    config: Mapping[str, str]


async def prepare_topics(
    admin: AIOKafkaAdminClient, topics: Topics, settings: KafkaSettings
) -> int:
    """Create what is missing, check what is there, and return the partitions of the events topic.

    Raises `TopicUnfitError` with what to do. What may lose events later is only warned of: it can
    be mended while all runs, and to refuse it would stop installations that are well so far.
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
            events, position = await _described(admin, topics)
    _check_policy(events, "delete")
    _check_policy(position, "compact")
    if position.partitions != 1:
        raise TopicUnfitError(f"The topic {position.name!r} must have exactly one partition.")
    for risk in _risks(events, position):
        logger.warning("%s", risk)
    return events.partitions


class TooLargeError(OperatorError):
    """A record is larger than its topic takes any."""

    def __init__(self, record: Record, topics: Topics, limit: int) -> None:
        headers = dict(record.headers)
        event_type, originator_id = headers["ce_type"].decode(), record.key.decode()
        size = len(record.value)
        super().__init__(
            f"{event_type} {originator_id}, at position {record.position}, has {size:,} bytes, and "
            f"the topic {topics.events} takes no record over {limit:,}, compressed. "
            f"{how_to_set(topics.events, LIMIT, str(size + HEADERS_BYTES))}; or have the relay "
            "compress better: KAFKA_COMPRESSION_TYPE=zstd"
        )


async def read_limit(topics: Topics, settings: KafkaSettings) -> int:
    """Return how many bytes a record of the events topic may have at most."""
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        configs = await read_configs(admin, [topics.events], CHECKED)
    return int(configs[topics.events][LIMIT])


async def read_risks(application_name: str, settings: KafkaSettings) -> Sequence[str]:
    """Say what in the settings of an application's topics may lose events, and what to do.

    Nothing is said of topics that are not there.
    """
    topics = Topics.of(application_name, settings)
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        if not {topics.events, topics.position} <= set(await admin.list_topics()):
            return ()
        return _risks(*await _described(admin, topics))


def _risks(events: _Topic, position: _Topic) -> Sequence[str]:
    return [
        *retention_risks(events.name, events.config),
        *(
            f"The topic {topic.name} has {topic.replicas} replicas and min.insync.replicas="
            f"{topic.config['min.insync.replicas']}: what only one broker has counts as written, "
            f"and is lost with it. {how_to_set(topic.name, 'min.insync.replicas', str(IN_SYNC))}"
            for topic in (events, position)
            if topic.replicas >= USUAL_REPLICAS
            and int(topic.config["min.insync.replicas"]) < IN_SYNC
        ),
    ]


def _check_policy(topic: _Topic, needed: str) -> None:
    actual = topic.config["cleanup.policy"]
    if actual != needed:
        raise TopicUnfitError(
            f"The topic {topic.name!r} has cleanup.policy={actual}, and needs {needed}. "
            "Change it, eventsourcing-kafka compose kafka configs --alter --entity-type topics "
            f"--entity-name {topic.name} --add-config cleanup.policy={needed}, or choose another "
            "KAFKA_TOPIC_PREFIX."
        )


async def _create(admin: AIOKafkaAdminClient, topics: Topics, settings: KafkaSettings) -> None:
    """Create what is missing. Where nothing is, no single broker is needed that may be away."""
    there = set(await admin.list_topics())
    missing = [
        (name, partitions, config)
        for name, partitions, config in (
            (topics.events, settings.topic_partitions, events_config(settings)),
            (topics.position, 1, POSITION_CONFIG),
        )
        if name not in there
    ]
    if not missing:
        return
    brokers = len((await admin.describe_cluster())["brokers"])
    replicas = settings.topic_replication_factor or min(USUAL_REPLICAS, brokers)
    in_sync = {"min.insync.replicas": str(IN_SYNC)} if replicas >= USUAL_REPLICAS else {}
    response = await admin.create_topics(
        [
            NewTopic(name, partitions, replicas, topic_configs={**config, **in_sync})
            for name, partitions, config in missing
        ]
    )
    for _, code, message in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(message)


def events_config(settings: KafkaSettings) -> Mapping[str, str]:
    """Return what a topic of events is made with: it keeps them for ever, if no limit is set."""
    limits = (settings.topic_retention_ms, settings.topic_retention_bytes)
    kept = [FOR_EVER if limit is None else str(limit) for limit in limits]
    return {**EVENTS_CONFIG, **dict(zip(RETENTION, kept, strict=True))}


async def _described(admin: AIOKafkaAdminClient, topics: Topics) -> tuple[_Topic, _Topic]:
    """Return the topics of events and of positions, as they are."""
    names = (topics.events, topics.position)
    configs = await read_configs(admin, names, CHECKED)
    found = {topic["topic"]: topic for topic in await admin.describe_topics(list(names))}
    for name, topic in found.items():
        if topic["error_code"]:
            raise for_code(topic["error_code"])(name)
    events, position = (
        _Topic(
            name,
            len(found[name]["partitions"]),
            min(len(each["replicas"]) for each in found[name]["partitions"]),
            configs[name],
        )
        for name in names
    )
    return events, position
