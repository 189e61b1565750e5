"""Retrying for ever: what every loop does when it loses a server.

A loop is a sequence of sessions. When a server is lost the session ends, and after a pause the next
one connects anew and begins where the recorded position says. Nothing here knows of positions.
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
    OperationNotAttempted,
    ProducerFenced,
    UnknownError,
    UnknownMemberIdError,
)
from eventsourcing.persistence import InterfaceError, OperationalError, PersistenceError
from psycopg_pool import PoolTimeout
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.servers import UnreachableError, server_noted
from eventsourcing_kafka.producer.runtime.sqlalchemy import driver_error

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE = 0.1
"""Seconds; the upper bound of the first pause, doubled with each further one."""
LONGEST_PAUSE = 10.0
"""Seconds; the upper bound of every pause."""


@dataclass
class LoopHealth:
    """How a loop is doing, for those who watch it."""

    lost: str | None = None
    """Why it starts again, or for what server it waits; None when it has got through again."""
    ended: str | None = None
    """The error that has ended it."""
    restarts: int = 0
    """How many sessions were ended by a transient error."""


class Session(Protocol):
    """One session of a loop: connects, works for ever, calls `progressed` when it gets through."""

    async def __call__(self, progressed: Callable[[], None]) -> None:
        """Work until an error ends this session."""


class SessionLostError(Exception):
    """A session can't go on, and a new one can: no server is away."""


# A missing database and a wrong password are operational errors, too: the server is not set up yet,
# and that is to be waited for as well.
LOST = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
    OperationalError,
    InterfaceError,
    PoolTimeout,
    TimeoutError,
    ConnectionError,
    SessionLostError,
    KafkaConnectionError,
    KafkaTimeoutError,
    UnknownError,  # aiokafka's for every code that it does not know, such as those of a new leader.
    OperationNotAttempted,  # Another part of a request was refused: that tells why.
)
"""What a lost server shows itself as: in psycopg, the library around it, asyncio and aiokafka."""


OF_A_SERVER = ("08", "28", "40", "53", "55", "57", "58", "72", "F0", "HV", "XX")
OF_A_PROGRAM = (
    "03",
    "0A",
    "0B",
    "0L",
    "0P",
    "24",
    "25",
    "26",
    "2B",
    "2D",
    "34",
    "3B",
    "3D",
    "3F",
    "42",
)
OF_OTHERS = frozenset({*OF_A_SERVER, *OF_A_PROGRAM})
"""Classes of Postgres's codes that are of its server, a session or a program. All others are of the
values that it was given: its own, and those that the author of a trigger has made up.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""


SQLITE_BUSY = (5, 6)
"""Busy, and locked.

https://www.sqlite.org/rescode.html
"""
SQLITE_PRIMARY = 0xFF
"""The part of a code of SQLite's that says what is the matter; the rest says more of it."""


PLACE_LOST = (ProducerFenced, UnknownMemberIdError, IllegalGenerationError)
"""What Kafka answers to one who no longer has the turn, or the membership, that it acts on."""


def is_of_values(error: BaseException | None) -> bool:
    """Tell whether Postgres refuses what it was given, whoever says so: it would again."""
    if isinstance(error, PersistenceError):
        error = error.__cause__
    return isinstance(error, psycopg.Error) and (error.sqlstate or "XX")[:2] not in OF_OTHERS


def is_transient(error: BaseException) -> bool:
    """Tell whether an error comes from outside and passes by itself: it is waited out, for ever."""
    match error:
        case BaseExceptionGroup():
            return all(is_transient(inner) for inner in error.exceptions)
        case KafkaError():
            # A bare one is aiokafka's for a broker that it lost where it did not expect to.
            return error.retriable or isinstance(error, LOST) or type(error) is KafkaError
        case psycopg.Error() | PersistenceError() if is_of_values(error):
            return False  # psycopg files some under operational errors.
        case psycopg.InternalError() if error.sqlstate is None:  # Of an answer that breaks off.
            return True
        case _ if driver := driver_error(error):
            return is_transient(driver)
        case _:
            return isinstance(error, LOST) or _is_busy(error)


def _is_busy(error: BaseException) -> bool:
    """Tell whether SQLite says that somebody else has the database, whose other errors stay."""
    return getattr(error, "sqlite_errorcode", 0) & SQLITE_PRIMARY in SQLITE_BUSY


async def retrying(
    name: str,
    session: Session,
    health: LoopHealth | None = None,
    *,
    first_pause: float = FIRST_PAUSE,
    longest_pause: float = LONGEST_PAUSE,
) -> None:
    """Run one session after the other until one returns, or raises what is not transient.

    After a transient error it waits: at random up to `first_pause` seconds, doubled each time up to
    `longest_pause`, until a session has called `progressed`. A lost server is logged once, and once
    more when it is back; `health` tells of it meanwhile.
    """
    health = health or LoopHealth()
    state: RetryCallState | None = None

    def progressed() -> None:
        if health.lost:
            logger.info("%s: back", name)
        health.lost = None
        if state:
            state.attempt_number = 1

    def log_once(state: RetryCallState) -> None:
        assert state.outcome  # noqa: S101 - it has failed
        what = _what_is_lost(state.outcome.exception())
        if what != health.lost:
            logger.warning("%s: %s", name, what)
        health.lost = what
        health.restarts += 1

    try:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(multiplier=first_pause, max=longest_pause),
            before_sleep=log_once,
            sleep=anyio.sleep,
            reraise=True,
        ):
            with attempt:
                state = attempt.retry_state
                await session(progressed)
    except Exception as error:
        # Anybody who asks for the health is shown this. The text of an error that was not written
        # for an operator may quote an event.
        cause = first_error(error)
        may_be_shown = isinstance(cause, OperatorError)
        health.ended = describe(cause) if may_be_shown else type(cause).__name__
        raise


def _what_is_lost(error: BaseException | None) -> str:
    is_ours = error and isinstance(first_error(error), SessionLostError)
    return f"{'starting again' if is_ours else 'waiting for its server'}: {describe(error)}"


def describe(error: BaseException | None) -> str:
    """Return an error's name, and the first line of what it says.

    What can't be reached names itself, and of what is lost it is said which server it was.
    """
    error = first_error(error) if error else None
    first_line = (str(error).splitlines() or [""])[0]
    if isinstance(error, UnreachableError):
        return first_line
    if server := server_noted(error):
        return f"{server}: {first_line}"
    return f"{type(error).__name__}: {first_line}".rstrip(": ")


def name_of(error: Exception) -> str:
    """Return what a log that quotes nobody may say: an error's name, or what can't be reached."""
    return describe(error) if isinstance(error, UnreachableError) else type(error).__name__


def first_error(error: BaseException) -> BaseException:
    """Return an error by itself, out of the groups that task groups put it in.

    Of several it is one that does not pass by itself, if there is one.
    """
    while isinstance(error, BaseExceptionGroup):
        error = min(error.exceptions, key=is_transient)
    return error
