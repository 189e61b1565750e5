"""One transaction of a SQLite database around all that is done with it, by whichever recorder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, cast

from eventsourcing.persistence import OperationalError
from eventsourcing.sqlite import (
    SQLiteConnection,
    SQLiteCursor,
    SQLiteDatastore,
    SQLiteTransaction,
)

from eventsourcing_kafka.consumer.hosting.threads import in_thread
from eventsourcing_kafka.producer.runtime.compat import sqlite_connection


class Immediate(SQLiteTransaction):
    """Waits for who else is writing, and keeps others from it: what is read then is the latest."""

    def __enter__(self) -> SQLiteCursor:
        """Begin it."""
        cursor = self.connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise OperationalError(error) from error
        return cursor


class Savepoint(SQLiteTransaction):
    """A transaction in the transaction."""

    def __enter__(self) -> SQLiteCursor:
        """Begin it."""
        cursor = self.connection.cursor()
        cursor.execute("SAVEPOINT inner_one")
        return cursor


class PinnedConnection(SQLiteConnection):
    """A connection that is in a transaction already: those that are begun on it are savepoints."""

    @contextmanager
    def transaction(self, *, commit: bool) -> Iterator[SQLiteCursor]:
        """Begin a savepoint, as if it were a transaction."""
        with Savepoint(self, commit=commit) as cursor, cursor:
            yield cursor

    def rollback(self) -> None:
        """Undo what was done since the savepoint."""
        self.cursor().execute("ROLLBACK TO inner_one")
        self.commit()

    def commit(self) -> None:
        """Leave the savepoint."""
        self.cursor().execute("RELEASE inner_one")


class ThreadedTransaction:
    """What mending needs of a connection: savepoints, begun and left in a worker thread."""

    def __init__(self, connection: PinnedConnection) -> None:
        self._connection = connection

    def transaction(self) -> AbstractAsyncContextManager[SQLiteCursor]:
        """Begin a savepoint."""
        return in_thread(self._connection.transaction(commit=True))


class PinnedPool:
    """Gives the one connection, whoever asks."""

    def __init__(self, connection: PinnedConnection) -> None:
        self._connection = connection

    def get_connection(self, *_: Any, **__: Any) -> PinnedConnection:
        """Give it."""
        return self._connection

    def put_connection(self, connection: PinnedConnection) -> None:
        """Keep it."""


@contextmanager
def pinned(datastore: SQLiteDatastore) -> Iterator[PinnedConnection]:
    """Begin a transaction that everything is in which is done with a datastore meanwhile."""
    pool: Any = datastore.pool
    with datastore.get_connection(commit=True) as connection, Immediate(connection, commit=True):
        inner = PinnedConnection(sqlite_connection(connection), max_age=None)
        datastore.pool = cast("Any", PinnedPool(inner))
        try:
            yield inner
        finally:
            datastore.pool = pool
