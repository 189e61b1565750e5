"""Staying connected, and stopping well: what both ends of the wire do about a world that fails.

Losing a server is not an error, it is weather: the life of a client ends, and after a pause the
next one begins where the recorded position says. Nothing else here knows about positions.
"""

from __future__ import annotations

import gc
import logging
import signal
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

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
from eventsourcing.postgres import PostgresDatastore
from psycopg_pool import PoolTimeout
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from eventsourcing_kafka.producer.runtime.terminal import OperatorError

logger = logging.getLogger("endurance")

T = TypeVar("T")

FIRST_PAUSE = 0.1
"""Seconds; the upper bound of the first pause, doubled with each further one."""
LONGEST_PAUSE = 10.0

NEW_OBJECTS = 250_000
"""So many make Python look for cycles among them. The batches in hand are many objects, 20 of each
record, and no cycles: to look through them is a quarter of catching up, if it is ever done."""


@dataclass
class Vitals:
    """How a loop is doing, for those who watch it."""

    lost: str | None = None
    """What it waits for, since its server is lost; None when it has got through again."""
    ended: str | None = None
    """The error that has ended it."""
    restarts: int = 0
    """How often its clients were started again."""


class Life(Protocol):
    """One life of a loop: connects, works for ever, and calls `alive` when it has got through."""

    async def __call__(self, alive: Callable[[], None]) -> None:
        """Work until an error ends this life."""


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


async def enduring(name: str, life: Life, vitals: Vitals | None = None) -> None:
    """Live one life after the other until one ends of itself, or with an error that is our own.

    After a transient error comes a pause, longer each time and with jitter, until a life gets
    through. What was lost is said once, and once more when it is back; `vitals` tell it meanwhile.
    """
    gc.set_threshold(max(NEW_OBJECTS, gc.get_threshold()[0]), *gc.get_threshold()[1:])
    vitals = vitals or Vitals()
    state: RetryCallState | None = None

    def alive() -> None:
        if vitals.lost:
            logger.info("%s: back", name)
        vitals.lost = None
        if state:
            state.attempt_number = 1

    def say_once(state: RetryCallState) -> None:
        what = describe(state.outcome.exception()) if state.outcome else ""
        if what != vitals.lost:
            logger.warning("%s: waiting for its server: %s", name, what)
        vitals.lost = what
        vitals.restarts += 1

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
                await life(alive)
    except Exception as error:
        # What is not for an operator may quote an event, and whoever asks is told this.
        its_own = first_error(error)
        told = isinstance(its_own, OperatorError)
        vitals.ended = describe(its_own) if told else type(its_own).__name__
        raise


def describe(error: BaseException | None) -> str:
    """Return an error's name, and the first line of what it says."""
    error = first_error(error) if error else None
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}".rstrip(": ")


InHand = Callable[[], AbstractAsyncContextManager[None]]
"""Makes the context of what finishes, or not at all."""


@asynccontextmanager
async def finishing(grace: float) -> AsyncIterator[InHand]:
    """Let what is in hand finish when the body is cancelled from outside, within `grace` seconds.

    What is not finished then is cancelled: its transaction rolls back.
    """
    bodies: set[anyio.CancelScope] = set()

    async def watch() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            for body in bodies:
                body.deadline = min(body.deadline, anyio.current_time() + grace)

    @asynccontextmanager
    async def in_hand() -> AsyncIterator[None]:
        await anyio.lowlevel.checkpoint_if_cancelled()  # Nobody would tell it that it has to end.
        with anyio.CancelScope(shield=True) as body:
            bodies.add(body)
            try:
                yield
            finally:
                bodies.remove(body)
        if body.cancelled_caught:
            await anyio.lowlevel.checkpoint()  # We are cancelled from outside, and end here.

    async with anyio.create_task_group() as watching:
        watching.start_soon(watch)
        yield in_hand
        watching.cancel_scope.cancel()


@asynccontextmanager
async def ahead(source: AsyncGenerator[T, None]) -> AsyncIterator[AsyncIterator[T]]:
    """Read one item ahead of the body, so that reading and working overlap."""
    # With no buffer, the one item read ahead is the one that waits to be sent.
    send, receive = anyio.create_memory_object_stream[T](0)

    async def read() -> None:
        async with send, aclosing(source):
            async for item in source:
                await send.send(item)
                await anyio.lowlevel.checkpoint()  # Who waited for it has its turn first.

    async with anyio.create_task_group() as reading:
        reading.start_soon(read)
        async with receive:
            try:
                yield receive
            finally:
                # First, or an item that nobody takes any more would be an error of its own.
                reading.cancel_scope.cancel()


def connect_arguments(datastore: PostgresDatastore) -> dict[str, Any]:
    """Return the arguments with which psycopg connects as the library's datastore does.

    A network that is cut without a word ends such a connection in seconds, not in hours.
    """
    pool = datastore.pool
    assert isinstance(pool.kwargs, dict)  # noqa: S101 - the library always gives one
    password = {"password": pool.get_password_func()} if pool.get_password_func else {}
    keepalive = {"keepalives_idle": 5, "keepalives_interval": 5, "tcp_user_timeout": 15_000}
    given = {name: value for name, value in pool.kwargs.items() if name != "row_factory"}
    return {**given, **password, **keepalive}


@asynccontextmanager
async def connected(**arguments: Any) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Connect to Postgres, and close the connection at the end, also when cancelled.

    The connection's own context would roll back first, and stay open when cancelled.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(**arguments)
    except BaseException as error:
        # Cancelled half way, psycopg leaves the half-made session to the garbage collector, and
        # the server, which waits a minute for its password, lets nobody drop a database.
        traceback.clear_frames(error.__traceback__)
        raise
    try:
        yield connection
    finally:
        await connection.close()


def run(main: Callable[[], Awaitable[T]]) -> T | None:
    """Run a command until it ends, or SIGINT or SIGTERM cancels it (then return None).

    Of errors that task groups raise together, the first is raised by itself.
    """
    logging.getLogger("asyncio").addFilter(_is_news)
    gc.freeze()  # What is imported stays: looking through all of it stops a loop for 20 ms.
    try:
        return anyio.run(_until_signalled, main)
    except BaseExceptionGroup as group:
        raise first_error(group) from group


FORGOTTEN = "Unclosed AIOKafkaConnection"


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether what aiokafka left alone has failed of more than a lost server, or a lost place.

    The turn is lost once, and said by who had it: aiokafka has an error for each waiting batch.
    A commit that is given up while a group puts its member out has one, too. And a connection that
    it forgot, as it was cancelled while it first asked there for something, is closed by now.
    """
    if record.getMessage().startswith(FORGOTTEN):
        return False
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


def first_error(error: BaseException) -> BaseException:
    """Return an error by itself, out of the groups that task groups put it in.

    Of several it is one that does not pass by itself, if there is one.
    """
    while isinstance(error, BaseExceptionGroup):
        error = min(error.exceptions, key=is_transient)
    return error
