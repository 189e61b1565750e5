"""What the coordinator of a consumer group tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_fixed

from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.compat import assigned_partitions
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings

PAUSE_SECONDS = 0.1
COORDINATOR_SECONDS = 5.0
"""So long Kafka may take until a coordinator tells of its groups."""


async def owners_of(group: str, settings: KafkaSettings) -> dict[TopicPartition, str]:
    """Return which member has which partition. While they are being shared nobody has any.

    A coordinator that has just become it is waited for, for a few seconds.
    """
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_passes),
            wait=wait_fixed(PAUSE_SECONDS),
            stop=stop_after_delay(COORDINATOR_SECONDS),
            sleep=anyio.sleep,
            reraise=True,
        ):
            with attempt:
                members = await _members(admin, group)
    return {
        partition: f"{client} {host.strip('/')}"
        for _, client, host, _, assignment in members
        if assignment  # It is being negotiated otherwise.
        for partition in assigned_partitions(assignment)
    }


async def _members(admin: AIOKafkaAdminClient, group: str) -> Sequence[Any]:
    (response,) = await admin.describe_consumer_groups([group])
    ((error, _, _, _, _, members, *_),) = response.groups
    if error:
        raise for_code(error)
    found: Sequence[Any] = members
    return found


def _passes(error: BaseException) -> bool:
    return isinstance(error, KafkaError) and bool(error.retriable)
