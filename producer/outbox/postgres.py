"""An outbox over the library's Postgres tables.

Positions come from a sequence, and a sequence knows nothing of transactions: position 8 can be
committed while the transaction that took 7 is still at work, or has rolled back. Passing 7 too
early would lose an event for ever, and waiting for it could take for ever. So a hole is passed
when it is proven permanent:

1. The positions up to some row are seen, with holes among them.
2. Then the transactions that hold a writer's lock on the table are listed. A transaction takes
   that lock before it takes a position, and keeps it until it has ended. So whoever could still
   fill a hole is in the list; whoever comes later gets a higher position.
3. When all on the list have ended, the rows are read again. What is missing now stays missing.

Nothing is locked, so no writer ever waits for a reader.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from itertools import starmap
from typing import Any, LiteralString, Protocol, Self

import anyio
import psycopg
from eventsourcing.persistence import Notification
from eventsourcing.postgres import PostgresDatastore
from psycopg import sql

from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.postgres import connect_arguments, connected

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How long to wait for a NOTIFY before looking anyway: a pooler may swallow it."""

FIRST_BATCH = 100
"""Notifications of the first batch, at most: a relay that starts publishes them the sooner."""

WRITER_POLL_SECONDS = 0.01
"""How often to look whether the writers that can still fill a hole have ended."""

SELECT_NOTIFICATIONS: LiteralString = """
    SELECT {columns}
      FROM {table}
     WHERE {position} > %(after)s
     ORDER BY {position}
     LIMIT %(limit)s
"""

SELECT_STORED: LiteralString = """
    SELECT {columns}
      FROM {table}
     WHERE {position} = ANY(%s)
"""

# In the order of the primary key.
SELECT_AGGREGATE: LiteralString = """
    SELECT {columns}
      FROM {table}
     WHERE originator_id = %s
       AND {position} <= %s
     ORDER BY originator_version
"""

# A prepared transaction has no backend; its lock shows all the same, with a NULL pid.
SELECT_WRITERS: LiteralString = """
    SELECT DISTINCT virtualtransaction
      FROM pg_locks
     WHERE locktype = 'relation'
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND relation = {table_name}::regclass
       AND granted
       AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock',
                    'ExclusiveLock', 'AccessExclusiveLock')
"""

RELAY = "relay "
"""The session that has the turn is named so; host and process follow."""

TURN_MS = "5000"
TURN_PING_SECONDS = 1.0
TURN_POLL_SECONDS = 0.5

# Not pg_advisory_lock, which waits: a statement that runs for hours keeps vacuum from its work.
TRY_TURN: LiteralString = "SELECT pg_try_advisory_lock({table_name}::regclass::oid::bigint)"
KEEP_TURN_FOR: LiteralString = "SELECT set_config('idle_session_timeout', %s, false)"

# The lock goes with its session, and so does the session's name, which every role may read; its
# address it may not.
SELECT_OWNER: LiteralString = """
    SELECT session.application_name
      FROM pg_locks AS lock
      JOIN pg_stat_activity AS session USING (pid)
     WHERE lock.locktype = 'advisory'
       AND lock.granted
       AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND (lock.classid, lock.objid, lock.objsubid) = (0, {table_name}::regclass::oid, 1)
"""

SELECT_HEAD: LiteralString = "SELECT coalesce(max({position}), 0) FROM {table}"

# A session that caches sequence values takes a low position long after others took higher ones.
SELECT_UNFIT: LiteralString = """
    SELECT CASE
             WHEN pg_is_in_recovery()
             THEN 'it is a standby, which does not show who is writing: connect to the primary'
             WHEN seqcache > 1
             THEN 'its sequence caches values for a session: ALTER SEQUENCE '
                  || seqrelid::regclass || ' CACHE 1'
           END
      FROM pg_sequence
     WHERE seqrelid = pg_get_serial_sequence({table_name}, {position_name})::regclass
"""


class EventsInPostgres(Protocol):
    """A recorder of the library that has a table of events in Postgres, and notifies of them."""

    datastore: PostgresDatastore
    events_table_name: str
    channel_name: str


class UnfitOutboxError(OperatorError):
    """The events table can't be read without the risk of losing an event."""


class NoEventsError(UnfitOutboxError):
    """There is no such table: its application has not made it yet, or it is another's."""


class PostgresOutbox:
    """Reads an events table of the library with one connection of psycopg's async API.

    `connect` returns the arguments of that connection, with the password of now. Without a `schema`
    the session's search path tells where the table is. A batch has at most `limit` notifications;
    the first one has at most `first_batch`, and each that follows twice as many as the one before.
    Without a NOTIFY on `channel` it looks for new notifications every `poll_seconds`.
    """

    columns: Sequence[str] = (
        "originator_id",
        "originator_version",
        "topic",
        "state",
        "notification_id",
    )
    """What is read of a row, in the order in which `make` takes it; the last one is the position.
    """
    make: Callable[..., Notification] = Notification
    """Makes a notification of a row."""

    def __init__(
        self,
        connect: Callable[[], dict[str, Any]],
        schema: str | None,
        table: str,
        channel: str,
        *,
        limit: int = 2000,
        first_batch: int = FIRST_BATCH,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.connect = connect
        self.table = sql.Identifier(*filter(None, (schema, table)))
        self._first_batch = first_batch
        self._poll_seconds = poll_seconds
        self.limit = limit
        self._channel = channel
        self._names = {
            "table": self.table,
            "table_name": sql.Literal(self.table.as_string()),
            "columns": sql.SQL(", ").join(map(sql.Identifier, self.columns)),
            "position": sql.Identifier(self.columns[-1]),
            "position_name": sql.Literal(self.columns[-1]),
        }

    @classmethod
    def of(cls, recorder: EventsInPostgres, **options: Any) -> Self:
        """Read the table of the library's own recorder, connecting as it does."""
        return cls(
            partial(connect_arguments, recorder.datastore),
            recorder.datastore.schema,
            recorder.events_table_name,
            recorder.channel_name,
            **options,
        )

    async def head(self) -> int:
        """Return the highest position there is; 0 when there is none."""
        async with self._connected() as connection:
            with _explained():
                cursor = await connection.execute(self._sql(SELECT_HEAD))
            row = await cursor.fetchone()
            return int(row[0]) if row else 0

    async def owner(self) -> str | None:
        """Return the host and the process of the relay that has its turn; None if none has."""
        async with self._connected() as connection:
            cursor = await connection.execute(self._sql(SELECT_OWNER))
            row = await cursor.fetchone()
            return str(row[0]).removeprefix(RELAY) if row else None

    async def first(self, after: int) -> Notification | None:
        """Return the first notification after a position, over holes that may yet be filled."""
        async with self._connected() as connection:
            return next(iter(await self._select(connection, after, 1)), None)

    async def stored(self, positions: Sequence[int]) -> Mapping[int, Notification]:
        """Return the notifications at some positions, by position; those that there are."""
        async with self._connected() as connection:
            cursor = connection.cursor(binary=True)
            await cursor.execute(self._sql(SELECT_STORED), [list(positions)])
            return {found.id: found for found in starmap(self.make, await cursor.fetchall())}

    async def of_aggregate(self, originator_id: str, until: int) -> Sequence[Notification]:
        """Return what an aggregate has up to a position; nothing of what is no ID here."""
        async with self._connected() as connection:
            cursor = connection.cursor(binary=True)
            try:
                await cursor.execute(self._sql(SELECT_AGGREGATE), [originator_id, until])
            except psycopg.DataError:  # It is no UUID, where all of them are.
                return []
            return list(starmap(self.make, await cursor.fetchall()))

    async def batches(self, after: int) -> AsyncGenerator[Sequence[Notification], None]:
        """Yield all notifications with a higher position than `after`, in order of position.

        Raises `UnfitOutboxError` for a table that can't be read safely, and psycopg's
        `OperationalError` when the connection is lost: begin again after the last position.
        """
        async with self._connected() as connection:
            await self._check(connection)
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            proven = after  # Up to here, a position that is missing is a permanent hole.
            limit = min(self._first_batch, self.limit)
            while True:
                rows = await self._select(connection, after, limit)
                batch = _without_holes(rows, after, proven)
                if batch:
                    yield batch
                    after = batch[-1].id
                elif rows:
                    await self._writers_of_now_have_ended(connection)
                    proven = rows[-1].id
                if len(batch) == len(rows) < limit:
                    # There was no more. Whatever is committed since then sends a NOTIFY that we
                    # have not had yet: selecting at once would only take Postgres' time.
                    yield []
                    await _notified(connection, self._poll_seconds)
                limit = min(2 * limit, self.limit)

    async def between(self, after: int, until: int) -> AsyncGenerator[Sequence[Notification], None]:
        """Yield what there is after a position, up to another one, in order of position.

        Raises `UnfitOutboxError` for a table that can't be read safely, as that of a standby.
        """
        async with self._connected() as connection:
            await self._check(connection)
            while after < until and (rows := await self._select(connection, after, self.limit)):
                if batch := [row for row in rows if row.id <= until]:
                    yield batch
                after = rows[-1].id

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until no other relay reads this outbox, and keep others waiting meanwhile.

        It is an advisory lock of a session that the server ends when it is silent for some
        seconds, as it is when the process is killed, stopped, or cut off. Raises psycopg's
        `OperationalError`, in the body, when the turn is lost.
        """
        async with self._connected(f"{RELAY}{socket.gethostname()}-{os.getpid()}") as connection:
            await self._check(connection)
            await self._await_turn(connection)
            await connection.execute(self._sql(KEEP_TURN_FOR), [TURN_MS])
            async with anyio.create_task_group() as keeping:
                keeping.start_soon(_keep_turn, connection)
                yield
                keeping.cancel_scope.cancel()

    def _connected(
        self, name: str = "outbox"
    ) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        return connected(**self.connect(), application_name=name)

    def _sql(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(**self._names)

    async def _check(self, connection: psycopg.AsyncConnection[Any]) -> None:
        with _explained():
            cursor = await connection.execute(self._sql(SELECT_UNFIT))
        for (reason,) in await cursor.fetchall():
            if reason:
                raise UnfitOutboxError(f"The outbox can't be read safely: {reason}.")

    async def _await_turn(self, connection: psycopg.AsyncConnection[Any]) -> None:
        logged = False
        while not await self._has_turn(connection):
            if not logged:
                logger.info("another relay publishes: waiting for its end")
            logged = True
            await anyio.sleep(TURN_POLL_SECONDS)

    async def _has_turn(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        cursor = await connection.execute(self._sql(TRY_TURN))
        return await cursor.fetchone() == (True,)

    async def _select(
        self, connection: psycopg.AsyncConnection[Any], after: int, limit: int
    ) -> list[Notification]:
        cursor = connection.cursor(binary=True)
        await cursor.execute(
            self._sql(SELECT_NOTIFICATIONS), {"after": after, "limit": limit}, prepare=True
        )
        return list(starmap(self.make, await cursor.fetchall()))

    async def _writers_of_now_have_ended(self, connection: psycopg.AsyncConnection[Any]) -> None:
        writers = await self._writers(connection)
        while writers:
            await _notified(connection, WRITER_POLL_SECONDS)
            writers &= await self._writers(connection)

    async def _writers(self, connection: psycopg.AsyncConnection[Any]) -> set[str]:
        cursor = await connection.execute(self._sql(SELECT_WRITERS))
        return {transaction for (transaction,) in await cursor.fetchall()}


@contextmanager
def _explained() -> Iterator[None]:
    """Raise `NoEventsError` if the table is not there."""
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise NoEventsError(
            f"There are no events to read: {error.diag.message_primary}. Its application makes "
            "it. Are its name, and the POSTGRES_… settings, the application's?"
        ) from error


def _without_holes(rows: Sequence[Notification], after: int, proven: int) -> Sequence[Notification]:
    """Return the first rows, up to a hole that is not proven permanent."""
    expected = after + 1
    for index, row in enumerate(rows):
        if row.id != expected and row.id > proven:
            return rows[:index]
        expected = row.id + 1
    return rows


async def _keep_turn(connection: psycopg.AsyncConnection[Any]) -> None:
    while True:
        await anyio.sleep(TURN_PING_SECONDS)
        await connection.execute("SELECT 1")


async def _notified(connection: psycopg.AsyncConnection[Any], seconds: float) -> None:
    """Wait for a writer's NOTIFY, or for `seconds`. Several that have come are taken for one."""
    async for _ in connection.notifies(timeout=seconds, stop_after=1):
        pass
