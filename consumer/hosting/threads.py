"""A synchronous psycopg connection with the face of an asynchronous one.

So that the tracking, the guard and the parking are written once, and work inside the transaction
of the library's own recorders too. Each call runs in a worker thread; there is one at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
)
from typing import Any, TypeVar

import anyio
from anyio import to_thread
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

T = TypeVar("T")


class ThreadedCursor:
    """A cursor of such a connection."""

    def __init__(self, cursor: Cursor[Any]) -> None:
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        """How many rows the last statement concerned."""
        return self._cursor.rowcount

    async def execute(self, statement: Any, parameters: Any = None) -> ThreadedCursor:
        """Execute a statement."""
        await to_thread.run_sync(self._cursor.execute, statement, parameters)
        return self

    async def fetchone(self) -> Any:
        """Return the next row, which is here already."""
        return self._cursor.fetchone()

    async def fetchall(self) -> Sequence[Any]:
        """Return all rows, which are here already."""
        return self._cursor.fetchall()


class ThreadedConnection:
    """What the tracking and the parking need of a connection."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.sync = connection

    def cursor(self, *, row_factory: Any = tuple_row) -> ThreadedCursor:
        """Return a cursor; it gives tuples unless told otherwise."""
        return ThreadedCursor(self.sync.cursor(row_factory=row_factory))

    async def execute(self, statement: Any, parameters: Any = None) -> ThreadedCursor:
        """Execute a statement."""
        return await self.cursor().execute(statement, parameters)

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Begin a transaction, or a savepoint in one."""
        return in_thread(self.sync.transaction())


@asynccontextmanager
async def in_thread(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context in a worker thread, where it may block."""
    entered = await to_thread.run_sync(context.__enter__)
    try:
        yield entered
    except BaseException as error:
        # A rollback must go through, even when we are cancelled; and so must a commit, or the
        # connection would stay inside the transaction.
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(context.__exit__, type(error), error, error.__traceback__)
        raise
    else:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(context.__exit__, None, None, None)
