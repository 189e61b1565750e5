"""Reads the stored events of an application: by position, and by aggregate.

Tagged decisions have no aggregate: all of an application's are one, or those of one key are.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, Self

from eventsourcing.dcb.application import DCBApplication
from eventsourcing.persistence import Notification
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.producer.outbox import (
    Outbox,
    PostgresOutbox,
    UnknownRecorderError,
    outbox_of,
)
from eventsourcing_kafka.producer.runtime.applications import AnyApplication
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.postgres import connected, server_cursor
from eventsourcing_kafka.producer.wire.tagged import PARTITION_BY_TAG

FETCHED_EVENTS = 500

SELECT_HEAD: LiteralString = "SELECT coalesce(max({position}), 0) FROM {table}"

SELECT_RANGE: LiteralString = """
    SELECT {columns}
      FROM {table}
     WHERE {position} BETWEEN %s AND %s
     ORDER BY {position}
"""

SELECT_BY_AGGREGATE: LiteralString = """
    SELECT {columns}
      FROM {table}
     WHERE {position} <= %s
     ORDER BY {aggregate}
"""

# That of the primary key.
AGGREGATE: LiteralString = "originator_id, originator_version"

# By bytes, as everywhere.
KEY: LiteralString = """
    (SELECT min(tag COLLATE "C") FROM unnest(tags) AS tag WHERE starts_with(tag, {prefix})), id
"""


class NotInPostgresError(OperatorError):
    """The write model is not in Postgres: nothing there can be read aggregate by aggregate."""


class WriteModel:
    """The stored events of an application, read with one connection."""

    def __init__(
        self,
        connection: AsyncConnection[Any],
        outbox: PostgresOutbox,
        aggregate: sql.Composable,
    ) -> None:
        self._connection = connection
        self._make = outbox.make
        self._names = {
            "table": outbox.table,
            "columns": sql.SQL(", ").join(map(sql.Identifier, outbox.columns)),
            "position": sql.Identifier(outbox.columns[-1]),
            "aggregate": aggregate,
        }

    @classmethod
    @asynccontextmanager
    async def of(cls, application: AnyApplication) -> AsyncIterator[Self]:
        """Connect as the application does. Raises `NotInPostgresError`."""
        outbox = _outbox_of(application)
        if not isinstance(outbox, PostgresOutbox):
            raise NotInPostgresError(
                f"The write model is in a {type(application.recorder).__name__}, and only one in "
                "Postgres can be audited: set PERSISTENCE_MODULE=eventsourcing.postgres, or eval "
                "the stack's own settings: eventsourcing-kafka compose env"
            )
        async with connected(**outbox.connect(), application_name="audit") as connection:
            yield cls(connection, outbox, _order(application))

    async def head(self) -> int:
        """Return the highest position there is; 0 when there is none."""
        cursor = await self._connection.execute(self._sql(SELECT_HEAD))
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def between(self, first: int, last: int) -> Sequence[Notification]:
        """Return the notifications from one position to another, both included."""
        cursor = self._connection.cursor(binary=True)
        await cursor.execute(self._sql(SELECT_RANGE), [first, last], prepare=True)
        return [self._make(*row) async for row in cursor]

    async def by_aggregate(self, until: int) -> AsyncGenerator[Notification, None]:
        """Yield all notifications up to a position, ordered by aggregate and version."""
        async with (
            self._connection.transaction(),
            server_cursor(self._connection, "by_aggregate", binary=True) as cursor,
        ):
            cursor.itersize = FETCHED_EVENTS
            await cursor.execute(self._sql(SELECT_BY_AGGREGATE), [until])
            async for row in cursor:
                yield self._make(*row)

    def _sql(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(**self._names)


def _outbox_of(application: AnyApplication) -> Outbox | None:
    """Return what a relay reads; None for what no relay can."""
    try:
        return outbox_of(application)
    except UnknownRecorderError:
        return None


def _order(application: AnyApplication) -> sql.Composable:
    """Return by what events are ordered, aggregate by aggregate."""
    if not isinstance(application, DCBApplication):
        return sql.SQL(AGGREGATE)
    prefix = application.env.get(PARTITION_BY_TAG) or ""
    return sql.SQL(KEY).format(prefix=prefix) if prefix else sql.Identifier("id")
