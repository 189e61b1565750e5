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

    def insert(self, recorder: Any, events: Sequence[StoredEvent], **kwargs: Any) -> None:
        """Insert events within the transaction that is open there."""


class PinnedPool:
    """Gives the one connection that a batch's transaction is on, whoever asks."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.pinned: Connection[Any] | None = None

    @contextmanager
    def connection(self, *args: Any, **kwargs: Any) -> Iterator[Connection[Any]]:
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

    def insert(self, recorder: Any, events: Sequence[StoredEvent], **kwargs: Any) -> None:
        """Insert events within the transaction that is open there."""
        with self._datastore.get_connection() as connection, connection.cursor() as cursor:
            insert_on_open_transaction(recorder, cursor, events, **kwargs)
