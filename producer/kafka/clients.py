"""Starting aiokafka's clients, and stopping them whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import anyio
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError

from eventsourcing_kafka.producer.kafka.compat import (
    close_connections,
    forget_refusal,
    last_refusal,
)
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings

CLOSE_SECONDS = 5.0


@asynccontextmanager
async def groupless_consumer(
    settings: KafkaSettings, *, committed: bool = True
) -> AsyncIterator[AIOKafkaConsumer]:
    """Start a consumer without a group, to ask where partitions begin and end, or to read them.

    They end before the first open transaction, unless what is not `committed` counts, too. It
    learns of a topic when it is first asked about it, and asks again after its back-off.
    """
    consumer = AIOKafkaConsumer(
        **settings.client(),
        isolation_level="read_committed" if committed else "read_uncommitted",
        enable_auto_commit=False,
        retry_backoff_ms=10,
        fetch_max_wait_ms=20,  # Nobody waits here for what is to come.
    )
    async with started(consumer):
        yield consumer


class _Client(Protocol):
    def start(self) -> Awaitable[None]: ...


C = TypeVar("C", bound=_Client)


@asynccontextmanager
async def started(client: C) -> AsyncIterator[C]:
    """Start an aiokafka client, and stop it whatever happens, within a few seconds.

    Raises aiokafka's `KafkaConnectionError`, with the reason, when no broker can be connected to.
    """
    try:
        await _start(client)
        yield client
    finally:
        # A consumer that stops while a fetch of its own backs off raises the CancelledError of
        # that fetch. In a task of its own that cancels nobody else.
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            async with anyio.create_task_group() as stopping:
                stopping.start_soon(_stop, client)


async def _start(client: _Client) -> None:
    forget_refusal()
    try:
        await client.start()
    except KafkaConnectionError as error:
        if reason := last_refusal():
            raise KafkaConnectionError(f"{error.args[0]}: {reason}") from reason
        raise


async def _stop(client: Any) -> None:
    try:
        # An admin client is closed, the others are stopped.
        await (client.stop if hasattr(client, "stop") else client.close)()
    finally:
        await close_connections(client)
