"""The way to a follower's database through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from eventsourcing.persistence import StoredEvent
from psycopg import Connection

from eventsourcing_kafka.producer.runtime.postgres import connect_arguments

if TYPE_CHECKING:
    from eventsourcing_sqlalchemy.datastore import SQLAlchemyDatastore


class JoinedConnection(Connection[Any]):
    """Its transactions are begun and ended by `transaction()` alone, and by nobody's session."""

    def commit(self) -> None:
        """Leave that to who has begun."""

    def rollback(self) -> None:
        """Leave that to who has begun."""


class SQLAlchemyDatabase:
    """That of a recorder that stores through SQLAlchemy: its sessions get the one connection.

    The datastore must be nobody else's.
    """

    def __init__(self, datastore: SQLAlchemyDatastore) -> None:
        self._datastore = datastore

    def undivided(self) -> None:
        """Return that it can't: what a session is to undo would stay without a word."""

    @contextmanager
    def connected(self) -> Iterator[Connection[Any]]:
        """Connect, and have the sessions of the datastore be on that connection."""
        from sqlalchemy import StaticPool, create_engine
        from sqlalchemy.orm import sessionmaker

        arguments = connect_arguments(self._datastore)
        connection = JoinedConnection.connect(**arguments, autocommit=True)
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: connection,
            poolclass=StaticPool,
            use_native_hstore=False,  # It would look up the type, for nothing.
        )
        own: Any = self._datastore.session_maker
        self._datastore.session_maker = sessionmaker(**{**own.kw, "bind": engine})
        try:
            yield connection
        finally:
            self._datastore.session_maker = own
            engine.dispose()
            connection.close()

    def insert(self, recorder: Any, events: Sequence[StoredEvent], **kwargs: Any) -> None:
        """Insert events within the transaction that is open there."""
        recorder.insert_events(events, **kwargs)
