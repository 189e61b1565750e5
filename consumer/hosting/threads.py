"""What blocks, where it may: in a worker thread.

The tracking, the guard, the parking and the applier are written once, as coroutines. A follower's
own connection is a synchronous one, and so is its policy: there the same coroutines are run in a
worker thread, in one go. Nothing that they await there makes them wait: it blocks instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, TypeVar, TypeVarTuple

import anyio
from anyio import to_thread
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def in_worker(work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> Awaitable[T]:
    """Run a coroutine function in a worker thread, where all that it awaits blocks instead."""
    return to_thread.run_sync(_finished, work, *args)


def _finished(work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Return what a coroutine function comes to that never waits."""
    steps = work(*args).__await__()
    try:
        next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("What is done in a worker thread has waited for the event loop.")


class BlockingCursor:
    """A cursor of such a connection."""

    def __init__(self, cursor: Cursor[Any]) -> None:
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        """How many rows the last statement concerned."""
        return self._cursor.rowcount

    async def execute(self, statement: Any, parameters: Any = None) -> BlockingCursor:
        """Execute a statement."""
        self._cursor.execute(statement, parameters)
        return self

    async def fetchone(self) -> Any:
        """Return the next row, which is here already."""
        return self._cursor.fetchone()

    async def fetchall(self) -> Sequence[Any]:
        """Return all rows, which are here already."""
        return self._cursor.fetchall()


class BlockingConnection:
    """A synchronous psycopg connection with the face of an asynchronous one.

    It has what the tracking and the parking need of one.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        self.sync = connection

    def cursor(self, *, row_factory: Any = tuple_row) -> BlockingCursor:
        """Return a cursor; it gives tuples unless told otherwise."""
        return BlockingCursor(self.sync.cursor(row_factory=row_factory))

    async def execute(self, statement: Any, parameters: Any = None) -> BlockingCursor:
        """Execute a statement."""
        return await self.cursor().execute(statement, parameters)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Begin a transaction, or a savepoint in one."""
        with self.sync.transaction() as transaction:
            yield transaction


@asynccontextmanager
async def in_thread(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context in a worker thread, where it may block."""
    entered = await to_thread.run_sync(context.__enter__)
    try:
        yield entered
    except BaseException as error:
        # It must be left, even when we are cancelled.
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(context.__exit__, type(error), error, error.__traceback__)
        raise
    else:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(context.__exit__, None, None, None)
