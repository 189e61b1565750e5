"""The follower's own way to its database: all that it does in a batch goes over one connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, Protocol, Self

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresDatastore
from psycopg import Connection, Cursor, Pipeline
from psycopg.generators import send
from psycopg.pq import TransactionStatus

from eventsourcing_kafka.consumer.engine.refusals import PartlyAppliedError
from eventsourcing_kafka.producer.runtime.compat import insert_on_open_transaction
from eventsourcing_kafka.producer.runtime.retry import is_transient

NOT_SENT_AHEAD = ("copy", "executemany", "stream")
"""What a cursor does in more steps than one."""


class Database(Protocol):
    """What a host needs of it."""

    def connected(self) -> AbstractContextManager[Connection[Any]]:
        """Take a connection of the follower's, and have all of its work go over that."""

    def undivided(self) -> AbstractContextManager[Undivided] | None:
        """Have transactions inside of the batch's be parts of it meanwhile; None if it can't.

        When it is left, all that was sent has been answered.
        """

    def insert(self, recorder: Any, events: Sequence[StoredEvent], **kwargs: Any) -> None:
        """Insert events within the transaction that is open there."""


class Undivided:
    """A connection of which a transaction, inside of a batch's, is a part that can't be undone.

    A savepoint takes a request, and so does its end: most of what an event costs. Whoever leaves
    such a transaction by an error is promised that nothing of it stays, so then `is_spoiled`.

    Nor is each statement waited for, once they are sent ahead: only who asks for an answer waits
    for all that were sent. So an error comes late, to whoever is next, and may be kept by them:
    `failure` is the first one that there was, and nothing of the batch must be committed then.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._pipelining = ExitStack()
        self._pipeline: Pipeline | None = None
        self._has_sent = False
        self.is_spoiled = False
        self.failure: psycopg.Error | None = None

    def send_ahead(self) -> None:
        """Wait for no statement before an answer is asked for."""
        self._pipeline = self._pipelining.enter_context(self._connection.pipeline())

    def send(self, cursor: Cursor[Any], *args: Any, **kwargs: Any) -> None:
        """Send a statement. The error that it raises may be that of an earlier one."""
        self._has_sent = True
        with self._noting():
            cursor.execute(*args, **kwargs)

    def receive(self) -> None:
        """Wait for the answers to all that was sent."""
        if self._pipeline and self._has_sent:
            self._has_sent = False
            with self._noting():
                # First: sync() writes to the socket once, and for what did not fit nobody answers.
                self._connection.wait(send(self._connection.pgconn))
                self._pipeline.sync()

    def wait_for_each(self) -> None:
        """Wait for the answers to all that was sent, and for that to each statement from now on."""
        self._pipeline = None
        with self._noting():
            self._pipelining.close()

    def check(self) -> None:
        """Raise `PartlyAppliedError` if something went wrong, though nobody has let it show."""
        if self.is_spoiled or self.failure:
            raise PartlyAppliedError

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            self.failure = self.failure or error
            raise

    def cursor(self, *args: Any, **kwargs: Any) -> Cursor[Any] | SendingCursor:
        """Return a cursor; one that is at the server is asked, and waited for, again and again."""
        if args or "name" in kwargs:
            self.wait_for_each()
        cursor = self._connection.cursor(*args, **kwargs)
        return SendingCursor(cursor, self) if self._pipeline else cursor

    def execute(
        self, query: Any, params: Any = None, *, prepare: bool | None = None, binary: bool = False
    ) -> Cursor[Any] | SendingCursor:
        """Execute a statement on a cursor of its own."""
        return self.cursor(binary=binary).execute(query, params, prepare=prepare)

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[Any]:
        """Be a part of the batch's transaction; what is to be undone in any case is undone."""
        if force_rollback:
            self.wait_for_each()
            with self._connection.transaction(savepoint_name, force_rollback) as transaction:
                yield transaction
            return
        try:
            yield None
        except BaseException:
            self.is_spoiled = True
            raise

    @property
    def adapters(self) -> Any:
        """What turns values into those of Postgres, and back."""
        return self._connection.adapters

    def __getattr__(self, name: str) -> Any:
        """Be the connection in all else."""
        self.wait_for_each()
        return getattr(self._connection, name)


class SendingCursor:
    """A cursor whose statements are sent ahead: it waits for them once it is asked anything else.

    Whatever can't be sent so is done as on any connection, and so is all that follows.
    """

    def __init__(self, cursor: Cursor[Any], connection: Undivided) -> None:
        vars(self).update(_cursor=cursor, _connection=connection)

    def execute(self, *args: Any, **kwargs: Any) -> Self:
        """Send a statement."""
        self._connection.send(self._cursor, *args, **kwargs)
        return self

    def __enter__(self) -> Self:
        """Be used until it is closed."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close it."""
        self._cursor.close()

    def __iter__(self) -> Iterator[Any]:
        """Return the rows."""
        self._connection.receive()
        return iter(self._cursor)

    def __setattr__(self, name: str, value: Any) -> None:
        """Be the cursor."""
        setattr(self._cursor, name, value)

    def __getattr__(self, name: str) -> Any:
        """Be the cursor, with its answers."""
        if name in NOT_SENT_AHEAD:
            self._connection.wait_for_each()
        else:
            self._connection.receive()
        return getattr(self._cursor, name)


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
        self.sends_ahead = True
        """Whether statements of a batch are: those of a follower that had one refused are not."""
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
        """Have transactions inside of the batch's be parts of it, and statements sent ahead.

        Once one that was is refused, each is waited for in later batches: it may be one that can't
        be sent so, or the follower's way to tell what is there already.
        """
        pinned = self._pool.pinned
        assert isinstance(pinned, Connection)  # noqa: S101 - a batch has one
        self._pool.pinned = lent = Undivided(pinned)
        if self.sends_ahead:
            lent.send_ahead()
        try:
            yield lent
            lent.wait_for_each()
            lent.is_spoiled |= pinned.info.transaction_status is TransactionStatus.INERROR
        finally:
            self._pool.pinned = pinned
            with suppress(psycopg.Error):  # It is noted, or there is another error.
                lent.wait_for_each()
            if lent.failure and not is_transient(lent.failure):
                self.sends_ahead = False

    def insert(self, recorder: Any, events: Sequence[StoredEvent], **kwargs: Any) -> None:
        """Insert events within the transaction that is open there."""
        with self._datastore.get_connection() as connection, connection.cursor() as cursor:
            insert_on_open_transaction(recorder, cursor, events, **kwargs)
