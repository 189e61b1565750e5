"""Starting aiokafka's clients, and stopping them whatever happens."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import anyio
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError, KafkaError

from eventsourcing_kafka.producer.kafka.compat import (
    bootstrap_servers,
    close_connections,
    forget_refusals,
    refusals,
)
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.servers import (
    UnreachableError,
    connecting_to,
    talking_to,
)

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


class KafkaUnreachableError(UnreachableError, KafkaConnectionError):  # type: ignore[misc]
    """No broker can be reached, or none lets us in."""

    __str__ = Exception.__str__
    """Without the name that aiokafka puts before."""


class _Client(Protocol):
    def start(self) -> Awaitable[None]: ...


C = TypeVar("C", bound=_Client)


@asynccontextmanager
async def started(client: C) -> AsyncIterator[C]:
    """Start an aiokafka client, and stop it whatever happens, within a few seconds.

    Raises `KafkaUnreachableError`, with the reason, when no broker can be connected to.
    """
    kafka = kafka_of(client)
    try:
        with connecting_to(kafka):
            await _start(client, kafka)
        with talking_to(kafka):
            yield client
    finally:
        # A consumer that stops while a fetch of its own backs off raises the CancelledError of
        # that fetch. In a task of its own that cancels nobody else.
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            async with anyio.create_task_group() as stopping:
                stopping.start_soon(_stop, client)


async def _start(client: _Client, kafka: str) -> None:
    forget_refusals()
    try:
        await client.start()
    except KafkaConnectionError as error:
        # Brokers are asked in any order: a loop that tries again says the same again.
        why = "; ".join(sorted({_why(reason) for reason in refusals() or (error,)}))
        raise KafkaUnreachableError(f"{kafka}: {why}") from error


def _why(reason: BaseException) -> str:
    """Return why a broker does not let us in, in a line."""
    match reason:
        case TimeoutError():
            return "no answer"
        case ConnectionError(errno=int(number)):
            return os.strerror(number)
        case OSError(strerror=str(why)):
            return why
        case KafkaError(args=(str(why), *_)):
            return why
        case _:
            return str(reason) or type(reason).__name__


def kafka_of(client: Any) -> str:
    """Return where a client looks for its brokers."""
    return f"Kafka at {bootstrap_servers(client)}"


async def _stop(client: Any) -> None:
    try:
        # An admin client is closed, the others are stopped.
        await (client.stop if hasattr(client, "stop") else client.close)()
    finally:
        await close_connections(client)
