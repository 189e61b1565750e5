"""Where the records of an application are: topic names, partitions, and how to reach Kafka."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import anyio
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings

CLOSE_SECONDS = 5.0


_refused: ContextVar[BaseException | None] = ContextVar("_refused", default=None)


def _keep_reason(record: logging.LogRecord) -> bool:
    """Keep why a broker could not be reached: aiokafka logs that, and then raises without it."""
    if isinstance(record.args, tuple) and record.args:
        match record.args[-1]:
            case BaseException() as error:
                _refused.set(error)
    return True


logging.getLogger("aiokafka").addFilter(_keep_reason)


@asynccontextmanager
async def reading(
    settings: KafkaSettings, *, committed: bool = True
) -> AsyncIterator[AIOKafkaConsumer]:
    """Start a consumer without a group, for those who ask where partitions begin and end.

    They end before the first open transaction, unless what is not `committed` counts, too. It
    learns of a topic when it is first asked about it, and asks again after its back-off.
    """
    consumer = AIOKafkaConsumer(
        **settings.client(),
        isolation_level="read_committed" if committed else "read_uncommitted",
        enable_auto_commit=False,
        retry_backoff_ms=10,
    )
    async with started(consumer):
        yield consumer


class _Client(Protocol):
    def start(self) -> Awaitable[None]: ...


C = TypeVar("C", bound=_Client)


@asynccontextmanager
async def started(client: C) -> AsyncIterator[C]:
    """Start an aiokafka client, and stop it whatever happens, within a few seconds.

    Raises aiokafka's `KafkaConnectionError`, with the reason, when no broker lets us in.
    """
    try:
        await _start(client)
        yield client
    finally:
        # A consumer that stops while a fetch of its own backs off raises the CancelledError of
        # that fetch, and leaves its connections open. It is not we who are cancelled.
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            async with anyio.create_task_group() as stopping:
                stopping.start_soon(_stop, client)


async def _start(client: _Client) -> None:
    _refused.set(None)
    try:
        await client.start()
    except KafkaConnectionError as error:
        if reason := _refused.get():
            raise KafkaConnectionError(f"{error.args[0]}: {reason}") from reason
        raise


async def _stop(client: Any) -> None:
    try:
        await (client.stop if hasattr(client, "stop") else client.close)()
    finally:
        if hasattr(client, "_client"):
            await client._client.close()  # noqa: SLF001 - there is no public way
