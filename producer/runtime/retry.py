"""Retrying for ever: what every loop does when it loses a server.

A lost server is not an error: the session ends, and after a pause the next one begins where the
recorded position says. Nothing here knows of positions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel
import psycopg
from aiokafka.errors import (
    IllegalGenerationError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFenced,
    UnknownError,
    UnknownMemberIdError,
)
from eventsourcing.persistence import InterfaceError, OperationalError
from psycopg_pool import PoolTimeout
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from eventsourcing_kafka.producer.runtime.errors import OperatorError

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE = 0.1
"""Seconds; the upper bound of the first pause, doubled with each further one."""
LONGEST_PAUSE = 10.0


@dataclass
class LoopHealth:
    """How a loop is doing, for those who watch it."""

    lost: str | None = None
    """Why it starts again, or for what server it waits; None when it has got through again."""
    ended: str | None = None
    """The error that has ended it."""
    restarts: int = 0
    """How often its clients were started again."""


class Session(Protocol):
    """One session of a loop: connects, works for ever, calls `progressed` when it gets through."""

    async def __call__(self, progressed: Callable[[], None]) -> None:
        """Work until an error ends this session."""


class SessionLostError(Exception):
    """A session can't go on, and a new one can: no server is away."""


# No such database, a wrong password: operational, too, when connecting. The server is not set up
# yet, so waiting is right there.
LOST = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
    OperationalError,
    InterfaceError,
    PoolTimeout,
    TimeoutError,
    ConnectionError,
    SessionLostError,
    KafkaConnectionError,
    KafkaTimeoutError,
    UnknownError,  # What aiokafka has no name for, as the errors of a new leader.
)
"""What a lost server shows itself as: in psycopg, the library around it, asyncio and aiokafka."""


PLACE_LOST = (ProducerFenced, UnknownMemberIdError, IllegalGenerationError)
"""What is said to who has gone on as if a place were its own: a turn, or a group's member's."""


def is_transient(error: BaseException) -> bool:
    """Tell whether an error is the world's and passes by itself: to be waited out, for ever."""
    match error:
        case BaseExceptionGroup():
            return all(is_transient(inner) for inner in error.exceptions)
        case KafkaError():
            # A bare one is aiokafka's for a broker that it lost where it did not expect to.
            return error.retriable or isinstance(error, LOST) or type(error) is KafkaError
        case psycopg.errors.ProgramLimitExceeded():  # It is filed under operational errors.
            return False
        case _:
            return isinstance(error, LOST)


async def retrying(name: str, session: Session, health: LoopHealth | None = None) -> None:
    """Run one session after the other until one ends of itself, or with an error that is our own.

    After a transient error comes a pause, longer each time and with jitter, until a session gets
    through. What was lost is said once, and once more when it is back; `health` tells it meanwhile.
    """
    health = health or LoopHealth()
    state: RetryCallState | None = None

    def progressed() -> None:
        if health.lost:
            logger.info("%s: back", name)
        health.lost = None
        if state:
            state.attempt_number = 1

    def say_once(state: RetryCallState) -> None:
        assert state.outcome  # noqa: S101 - it has failed
        what = _what_is_lost(state.outcome.exception())
        if what != health.lost:
            logger.warning("%s: %s", name, what)
        health.lost = what
        health.restarts += 1

    try:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
            before_sleep=say_once,
            sleep=anyio.sleep,
            reraise=True,
        ):
            with attempt:
                state = attempt.retry_state
                await session(progressed)
    except Exception as error:
        # What is not for an operator may quote an event, and whoever asks is told this.
        its_own = first_error(error)
        told = isinstance(its_own, OperatorError)
        health.ended = describe(its_own) if told else type(its_own).__name__
        raise


def _what_is_lost(error: BaseException | None) -> str:
    is_ours = error and isinstance(first_error(error), SessionLostError)
    return f"{'starting again' if is_ours else 'waiting for its server'}: {describe(error)}"


def describe(error: BaseException | None) -> str:
    """Return an error's name, and the first line of what it says."""
    error = first_error(error) if error else None
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}".rstrip(": ")


def first_error(error: BaseException) -> BaseException:
    """Return an error by itself, out of the groups that task groups put it in.

    Of several it is one that does not pass by itself, if there is one.
    """
    while isinstance(error, BaseExceptionGroup):
        error = min(error.exceptions, key=is_transient)
    return error
