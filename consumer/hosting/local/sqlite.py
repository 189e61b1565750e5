"""One transaction of a SQLite database around all that is done with it, by whichever recorder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, cast

from eventsourcing.persistence import OperationalError, Tracking
from eventsourcing.sqlite import (
    SQLiteConnection,
    SQLiteCursor,
    SQLiteDatastore,
    SQLiteTrackingRecorder,
    SQLiteTransaction,
)

from eventsourcing_kafka.producer.runtime.compat import insert_tracking, sqlite_connection


class Pinned(Protocol):
    """A transaction in which there can be savepoints."""

    def transaction(self, *, commit: bool) -> AbstractContextManager[Any]:
        """Begin a savepoint, as if it were a transaction."""


class SQLiteDatabase(Protocol):
    """The database of a follower's recorder, in which more is kept beside it."""

    is_in_memory: bool

    def transaction(self, *, commit: bool) -> AbstractContextManager[Any]:
        """Begin a transaction, and give a cursor whose rows are told by name as well."""

    def pinned(self) -> AbstractContextManager[Pinned]:
        """Begin a transaction that everything is in which the recorder does meanwhile."""

    def insert_tracking(self, cursor: Any, tracking: Tracking) -> None:
        """Insert a tracking in the transaction of a cursor."""


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


class LibrarySQLite:
    """That of a recorder of the library's."""

    def __init__(self, recorder: SQLiteTrackingRecorder) -> None:
        self._recorder = recorder
        self._datastore = recorder.datastore
        self.is_in_memory = recorder.datastore.pool.is_sqlite_memory_mode

    def transaction(self, *, commit: bool) -> AbstractContextManager[SQLiteCursor]:
        """Begin a transaction of its datastore."""
        return self._datastore.transaction(commit=commit)

    def pinned(self) -> AbstractContextManager[PinnedConnection]:
        """Begin a transaction that everything is in which is done with its datastore meanwhile."""
        return pinned(self._datastore)

    def insert_tracking(self, cursor: SQLiteCursor, tracking: Tracking) -> None:
        """Insert a tracking in the transaction of a cursor."""
        insert_tracking(self._recorder, cursor, tracking)
