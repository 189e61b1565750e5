"""A SQLite database of a recorder that stores through SQLAlchemy.

Whatever is done with its datastore inside of a transaction, in the same thread, is in that one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from eventsourcing.persistence import IntegrityError, Tracking

if TYPE_CHECKING:
    from eventsourcing_sqlalchemy.recorders import SQLAlchemyTrackingRecorder
    from sqlalchemy.orm import Session


class SessionInTransaction:
    """A transaction in which there can be savepoints."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @contextmanager
    def transaction(self, *, commit: bool) -> Iterator[None]:  # noqa: ARG002 - it always does
        """Begin a savepoint. Raises the library's `IntegrityError` for SQLAlchemy's."""
        from sqlalchemy import exc

        try:
            with self._session.begin_nested():
                yield
        except exc.IntegrityError as error:
            raise IntegrityError(error) from error


class SQLAlchemySQLite:
    """What is kept beside such a recorder is in its database, in transactions of its datastore."""

    def __init__(self, recorder: SQLAlchemyTrackingRecorder) -> None:
        self._recorder = recorder
        self._datastore = recorder.datastore
        self.is_in_memory = recorder.datastore.is_sqlite_in_memory_db

    @contextmanager
    def transaction(self, *, commit: bool) -> Iterator[Any]:
        """Begin a transaction, or be in the one that there is."""
        with self._datastore.transaction(commit=commit) as session:
            yield _cursor(session)

    @contextmanager
    def pinned(self) -> Iterator[SessionInTransaction]:
        """Begin a transaction that waits for who else is writing, and keeps others from it."""
        with self._datastore.transaction(commit=True) as session:
            _cursor(session).execute("BEGIN IMMEDIATE")
            yield SessionInTransaction(session)

    def insert_tracking(self, _cursor: Any, tracking: Tracking) -> None:
        """Insert a tracking in the transaction of a cursor."""
        self._recorder.insert_tracking(tracking)


def _cursor(session: Session) -> Any:
    """Return a cursor of the driver's, whose rows are told by name as well."""
    cursor = session.connection().connection.cursor()
    cursor.row_factory = sqlite3.Row  # type: ignore[attr-defined]
    return cursor
