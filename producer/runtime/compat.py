"""All that touches the insides of the eventsourcing library, and why there is no public way.

Written against eventsourcing 9.5. `tests/wire/test_compat.py` fails when another version no longer
has what is needed here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any, LiteralString
from uuid import UUID
from weakref import ref

from eventsourcing import utils
from eventsourcing.persistence import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    StoredEvent,
    Tracking,
    find_id_convertor,
    str_to_uuid_convertor,
)

from eventsourcing_kafka.producer.runtime.servers import note_server
from eventsourcing_kafka.producer.runtime.sqlalchemy import is_sqlalchemy

# Whoever calls one of these has the module that it needs.
if TYPE_CHECKING:
    import sqlite3

    from eventsourcing.postgres import PostgresDatastore
    from eventsourcing.sqlite import SQLiteConnection
    from psycopg import AsyncConnection
    from psycopg.sql import Identifier


def pool_arguments(datastore: PostgresDatastore) -> dict[str, Any]:
    """Return the arguments with which a datastore's pool connects, with the password of now.

    The library makes them of its settings, for its own pool, whose connections are not async.
    """
    pool = datastore.pool
    assert isinstance(pool.kwargs, dict)  # noqa: S101 - the library always gives one
    password = {"password": pool.get_password_func()} if pool.get_password_func else {}
    given = {name: value for name, value in pool.kwargs.items() if name != "row_factory"}
    return {**given, **password}


def renew_together(datastore: PostgresDatastore) -> None:
    """Have all idle connections of a datastore's pool go when one of them is found to be lost.

    The pool that pings before it gives one waits longer after each that is lost: a server that has
    ended all of them would cost the sum of it.
    """
    if datastore.pool._check:  # noqa: SLF001
        datastore.pool._check = _check_or_drain  # noqa: SLF001


def _check_or_drain(connection: Any) -> None:
    from psycopg_pool import ConnectionPool

    try:
        ConnectionPool.check_connection(connection)
    except Exception:
        # It knows its pool. One that knew it would be a cycle with it, which Python's collector
        # ends in any thread, and there the library joins the threads of the pool.
        connection._pool.drain()  # noqa: SLF001
        raise


def name_in_errors(datastore: PostgresDatastore, server: str) -> None:
    """Have a lost connection, and a statement that takes too long, say whose they are."""
    reference = ref(datastore)  # No cycle, for the same reason.

    @contextmanager
    def named() -> Iterator[Any]:
        found = reference()
        assert found  # noqa: S101 - it is who calls
        try:
            with type(found).get_connection(found) as connection:
                yield connection
        except (InterfaceError, OperationalError) as error:
            note_server(error, server)
            raise

    datastore.get_connection = named  # type: ignore[method-assign]


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


def tracks_in_one_row(recorder: Any) -> bool:
    """Tell whether a recorder in Postgres tracks in a row for each name, as the library's does."""
    from eventsourcing.postgres import PostgresTrackingRecorder as Library

    return (
        isinstance(recorder, Library)
        and recorder.datastore.single_row_tracking
        and type(recorder)._insert_tracking is Library._insert_tracking  # noqa: SLF001
        and type(recorder)._max_tracking_id is Library._max_tracking_id  # noqa: SLF001
    )


@contextmanager
def tracking_in(recorder: Any, positions: MutableMapping[str, int]) -> Iterator[None]:
    """Have such a recorder track positions by name, and not in its table, meanwhile.

    A view calls `_insert_tracking` in its own transaction, as the library shows: all that is public
    begins one.
    """

    def insert(_cursor: Any, tracking: Tracking) -> None:
        name, position = tracking.application_name, tracking.notification_id
        if position <= positions.get(name, 0):
            raise IntegrityError(f"Failed to record tracking for {name} {position}")
        positions[name] = position

    def highest(name: str, cursor: Any) -> int | None:
        return positions.get(name) or type(recorder)._max_tracking_id(recorder, name, cursor)  # noqa: SLF001

    recorder._insert_tracking, recorder._max_tracking_id = insert, highest  # noqa: SLF001
    try:
        yield
    finally:
        del recorder._insert_tracking, recorder._max_tracking_id  # noqa: SLF001


def registered_as(topic: str) -> Any:
    """Return what the library has registered under a topic, or under a part of it; else None.

    The public `resolve_topic` imports what it does not know. Here nothing is imported: a topic may
    come from anywhere.
    """
    registered = utils._topic_cache  # noqa: SLF001
    if topic in registered:
        return registered[topic]
    module, _, name = topic.partition(":")
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        found = registered.get(f"{module}:{'.'.join(parts[:length])}")
        if found is not None:
            return _inside(found, parts[length:])
    return _inside(_renamed(module), parts)


def _renamed(module: str) -> Any:
    """Return the module that is registered under a name, or is in a package that is."""
    registered = utils._topic_cache  # noqa: SLF001
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        found = registered.get(".".join(parts[:length]))
        if isinstance(found, ModuleType):
            return sys.modules.get(".".join([found.__name__, *parts[length:]]))
    return None


def _inside(found: Any, names: Sequence[str]) -> Any:
    """Return what has such names in a module or a class, one in the other; None if it is neither.

    Modules may import what they are asked for: here they are not asked.
    """
    for name in names:
        if not isinstance(found, (type, ModuleType)):
            return None
        found = (
            vars(found).get(name) if isinstance(found, ModuleType) else getattr(found, name, None)
        )
    return found


def id_type(event_class: Any) -> type[UUID | str]:
    """Return the type of the aggregate's ID in the events of a class.

    The library's mapper asks the same. Raises `TypeError` for a class that does not say.
    """
    return UUID if find_id_convertor(event_class, str) is str_to_uuid_convertor else str


RAISE_TRACKING: LiteralString = """
    INSERT INTO {table} AS tracked (application_name, notification_id)
    VALUES (%(application_name)s, %(notification_id)s)
        ON CONFLICT (application_name) DO UPDATE
       SET notification_id = excluded.notification_id
     WHERE tracked.notification_id < excluded.notification_id
"""


async def raise_tracking(
    connection: AsyncConnection[Any], recorder: Any, application_name: str, position: int
) -> None:
    """Track a position of an application on an async connection, unless a higher one is tracked.

    The recorder's own connection may be in the middle of a transaction.
    """
    from psycopg.errors import UniqueViolation
    from psycopg.sql import SQL

    tracking = {"application_name": application_name, "notification_id": position}
    statement = (
        SQL(RAISE_TRACKING).format(table=_tracking_table(recorder))
        if is_sqlalchemy(recorder)
        else recorder.insert_tracking_statement
    )
    # With a row for each position, as of old, one that is there already is refused.
    with suppress(UniqueViolation):
        async with connection.transaction():
            await connection.execute(statement, tracking)


DELETE_TRACKING: LiteralString = """
    DELETE FROM {table}
     WHERE application_name = %(name)s OR starts_with(application_name, %(name)s || ':')
"""


async def delete_tracking(connection: Any, recorder: Any, application_name: str) -> None:
    """Forget what a recorder has tracked of an application, and of its partitions."""
    from psycopg.sql import SQL

    statement = SQL(DELETE_TRACKING).format(table=_tracking_table(recorder))
    await connection.execute(statement, {"name": application_name})


def _tracking_table(recorder: Any) -> Identifier:
    from psycopg.sql import Identifier

    if is_sqlalchemy(recorder):
        table: Any = recorder.tracking_table  # type: ignore[attr-defined]
        return Identifier(*filter(None, (table.schema, table.name)))
    return Identifier(recorder.datastore.schema, recorder.tracking_table_name)
