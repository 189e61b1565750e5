"""Running a command until it ends, or a signal ends it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.abc
import anyio.lowlevel

from eventsourcing_kafka.producer.runtime.retry import PLACE_LOST, first_error, is_transient

T = TypeVar("T")

logger = logging.getLogger(__name__)


def run(main: Callable[[], Awaitable[T]]) -> T | None:
    """Run a command until it ends, or SIGINT or SIGTERM cancels it (then return None).

    Of errors that task groups raise together, the first is raised by itself.
    """
    logging.getLogger("asyncio").addFilter(_is_news)
    try:
        return anyio.run(_until_signalled, main)
    except BaseExceptionGroup as group:
        raise first_error(group) from group


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether a task that nobody waits for has failed of more than a lost server or place.

    A turn is lost once, and whoever had it says so: aiokafka has an error for each waiting batch.
    A commit that is given up while a group puts its member out has one, too.
    """
    error = record.exc_info[1] if record.exc_info else None
    return error is None or not (is_transient(error) or isinstance(error, PLACE_LOST))


async def _until_signalled(main: Callable[[], Awaitable[T]]) -> T | None:
    result: T | None = None
    async with anyio.create_task_group() as group:

        async def cancel_on_signal(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                async for received in signals:
                    logger.info("%s: finishing the batch in hand", received.name)
                    group.cancel_scope.cancel()
                    return

        await group.start(cancel_on_signal)
        result = await main()
        group.cancel_scope.cancel()
    return result
