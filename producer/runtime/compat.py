"""All that touches the insides of the eventsourcing library, and why there is no public way.

Written against eventsourcing 9.5. `tests/wire/test_compat.py` fails when another version no longer
has what is needed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, LiteralString

from eventsourcing.persistence import StoredEvent

# Whoever calls one of these has the module that it needs.
if TYPE_CHECKING:
    import sqlite3

    from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
    from eventsourcing.sqlite import SQLiteConnection
    from psycopg import AsyncConnection


def pool_arguments(datastore: PostgresDatastore) -> dict[str, Any]:
    """Return the arguments with which a datastore's pool connects, with the password of now.

    The library makes them of its settings, for its own pool, whose connections are not async.
    """
    pool = datastore.pool
    assert isinstance(pool.kwargs, dict)  # noqa: S101 - the library always gives one
    password = {"password": pool.get_password_func()} if pool.get_password_func else {}
    given = {name: value for name, value in pool.kwargs.items() if name != "row_factory"}
    return {**given, **password}


def insert_on_open_transaction(
    recorder: Any, cursor: Any, events: Sequence[StoredEvent], **kwargs: Any
) -> None:
    """Insert events, and what a Postgres recorder adds to them, in the transaction of a cursor.

    The public `insert_events` begins a transaction of its own, here a savepoint; after a conflict
    it would fail in releasing that, and hide the conflict. And it would try again what can only be
    tried again after a rollback.
    """
    recorder._insert_events(cursor, events, **kwargs)  # noqa: SLF001
    if events:
        recorder._insert_stored_events(cursor, events, **kwargs)  # noqa: SLF001


def sqlite_connection(connection: SQLiteConnection) -> sqlite3.Connection:
    """Return what a connection of the library's is around, for another one to be around it.

    A class of our own begins savepoints on it, where the library's would begin a transaction.
    """
    inner: sqlite3.Connection = connection._sqlite_conn  # noqa: SLF001
    return inner


def insert_tracking(recorder: Any, cursor: Any, tracking: Any) -> None:
    """Insert a tracking in the transaction of a SQLite cursor.

    The public `insert_tracking` begins and commits a transaction of its own.
    """
    recorder._insert_tracking(cursor, tracking)  # noqa: SLF001


async def raise_tracking(
    connection: AsyncConnection[Any],
    recorder: PostgresTrackingRecorder,
    application_name: str,
    position: int,
) -> None:
    """Track a position of an application on an async connection, unless a higher one is tracked.

    The recorder's own connection may be in the middle of a transaction.
    """
    from psycopg.errors import UniqueViolation

    tracking = {"application_name": application_name, "notification_id": position}
    # With a row for each position, as of old, one that is there already is refused.
    with suppress(UniqueViolation):
        async with connection.transaction():
            await connection.execute(recorder.insert_tracking_statement, tracking)


DELETE_TRACKING: LiteralString = """
    DELETE FROM {table}
     WHERE application_name = %(name)s OR starts_with(application_name, %(name)s || ':')
"""


def delete_tracking(recorder: PostgresTrackingRecorder, application_name: str) -> None:
    """Forget what a recorder has tracked of an application, and of its partitions."""
    from psycopg.sql import SQL, Identifier

    table = Identifier(recorder.datastore.schema, recorder.tracking_table_name)
    with recorder.datastore.get_connection() as connection:
        statement = SQL(DELETE_TRACKING).format(table=table)
        connection.execute(statement, {"name": application_name})
