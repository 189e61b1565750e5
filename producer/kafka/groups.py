"""What the coordinator of a consumer group tells of it."""

from __future__ import annotations

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code

from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.compat import assigned_partitions
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings


async def owners_of(group: str, settings: KafkaSettings) -> dict[TopicPartition, str]:
    """Return which member has which partition. While they are being shared nobody has any."""
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        (response,) = await admin.describe_consumer_groups([group])
    ((error, _, _, _, _, members, *_),) = response.groups
    if error:
        raise for_code(error)
    return {
        partition: f"{client} {host.strip('/')}"
        for _, client, host, _, assignment in members
        if assignment  # It is being negotiated otherwise.
        for partition in assigned_partitions(assignment)
    }
