"""The follower's own way to its database: all that it does in a batch goes over one connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresDatastore
from psycopg import Connection

from eventsourcing_kafka.producer.runtime.compat import insert_on_open_transaction


class Database(Protocol):
    """What a host needs of it."""

    def connected(self) -> AbstractContextManager[Connection[Any]]:
        """Take a connection of the follower's, and have all of its work go over that."""

    def undivided(self) -> AbstractContextManager[Undivided] | None:
        """Have transactions inside of the batch's be parts of it meanwhile; None if it can't."""

    def insert(self, recorder: Any, events: Sequence[StoredEvent], **kwargs: Any) -> None:
        """Insert events within the transaction that is open there."""


class Undivided:
    """A connection of which a transaction, inside of a batch's, is a part that can't be undone.

    A savepoint takes a request, and so does its end: most of what an event costs. Whoever leaves
    such a transaction by an error is promised that nothing of it stays, so then `is_spoiled`.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self.is_spoiled = False

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[Any]:
        """Be a part of the batch's transaction; what is to be undone in any case is undone."""
        if force_rollback:
            with self._connection.transaction(savepoint_name, force_rollback) as transaction:
                yield transaction
            return
        try:
            yield None
        except BaseException:
            self.is_spoiled = True
            raise

    def __getattr__(self, name: str) -> Any:
        """Be the connection in all else."""
        return getattr(self._connection, name)


class PinnedPool:
    """Gives the one connection that a batch's transaction is on, whoever asks."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.pinned: Connection[Any] | Undivided | None = None

    @contextmanager
    def connection(self, *args: Any, **kwargs: Any) -> Iterator[Connection[Any] | Undivided]:
        """Give the pinned connection, or one of the pool's while none is."""
        if self.pinned is not None:
            yield self.pinned
        else:
            with self._pool.connection(*args, **kwargs) as connection:
                yield connection

    def __getattr__(self, name: str) -> Any:
        """Be the pool in all else."""
        return getattr(self._pool, name)


class LibraryDatabase:
    """That of a recorder of the library's: one of its pool's connections is given to whoever asks.

    The datastore must be nobody else's.
    """

    def __init__(self, datastore: PostgresDatastore) -> None:
        self._datastore = datastore
        self._pool = PinnedPool(datastore.pool)
        datastore.pool = self._pool  # type: ignore[assignment]

    @contextmanager
    def connected(self) -> Iterator[Connection[Any]]:
        """Take a connection of the pool's, and pin it."""
        with self._datastore.get_connection() as connection:
            self._pool.pinned = connection
            try:
                yield connection
            finally:
                self._pool.pinned = None

    @contextmanager
    def undivided(self) -> Iterator[Undivided]:
        """Have transactions inside of the batch's be parts of it meanwhile."""
        pinned = self._pool.pinned
        assert isinstance(pinned, Connection)  # noqa: S101 - a batch has one
        self._pool.pinned = lent = Undivided(pinned)
        try:
            yield lent
        finally:
            self._pool.pinned = pinned

    def insert(self, recorder: Any, events: Sequence[StoredEvent], **kwargs: Any) -> None:
        """Insert events within the transaction that is open there."""
        with self._datastore.get_connection() as connection, connection.cursor() as cursor:
            insert_on_open_transaction(recorder, cursor, events, **kwargs)
