"""Reads the stored events of an application: by position, and by aggregate."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, Self

from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, Notification
from eventsourcing.postgres import PostgresApplicationRecorder
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.postgres import connect_arguments, connected

FETCHED_EVENTS = 500

SELECT_HEAD: LiteralString = "SELECT coalesce(max(notification_id), 0) FROM {table}"

SELECT_RANGE: LiteralString = """
    SELECT notification_id, originator_id, originator_version, topic, state
      FROM {table}
     WHERE notification_id BETWEEN %s AND %s
     ORDER BY notification_id
"""

# In the order of the primary key.
SELECT_BY_AGGREGATE: LiteralString = """
    SELECT notification_id, originator_id, originator_version, topic, state
      FROM {table}
     WHERE notification_id <= %s
     ORDER BY originator_id, originator_version
"""


# Of an aggregate the latest ones. What its ID is, is known to the column.
SELECT_AGGREGATE: LiteralString = """
    SELECT notification_id, originator_id, originator_version, topic, state
      FROM {table}
     WHERE originator_id = %s
     ORDER BY originator_version DESC
     LIMIT %s
"""


class NotInPostgresError(OperatorError):
    """The write model is not in Postgres: nothing there can be read aggregate by aggregate."""


class WriteModel:
    """The stored events of an application, read with one connection."""

    def __init__(
        self, connection: AsyncConnection[Any], table: sql.Identifier, mapper: Mapper[Any]
    ) -> None:
        self.mapper = mapper
        self._connection = connection
        self._table = table

    @classmethod
    @asynccontextmanager
    async def of(cls, application: Application[Any]) -> AsyncIterator[Self]:
        """Connect as the application does. Raises `NotInPostgresError`."""
        recorder = application.recorder
        if not isinstance(recorder, PostgresApplicationRecorder):
            raise NotInPostgresError(
                f"The write model is in a {type(recorder).__name__}, and only one in Postgres can "
                "be audited: set PERSISTENCE_MODULE=eventsourcing.postgres, or eval the stack's "
                "own settings: eventsourcing-kafka compose env"
            )
        async with connected(
            **connect_arguments(recorder.datastore), application_name="audit"
        ) as connection:
            table = sql.Identifier(recorder.datastore.schema, recorder.events_table_name)
            yield cls(connection, table, application.mapper)

    async def head(self) -> int:
        """Return the highest position there is; 0 when there is none."""
        cursor = await self._connection.execute(self._sql(SELECT_HEAD))
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def between(self, first: int, last: int) -> Sequence[Notification]:
        """Return the notifications from one position to another, both included."""
        cursor = self._connection.cursor(binary=True)
        await cursor.execute(self._sql(SELECT_RANGE), [first, last], prepare=True)
        return [_notification(*row) async for row in cursor]

    async def of_aggregate(self, originator_id: str, limit: int) -> Sequence[Notification]:
        """Return the latest notifications of an aggregate, the newest first.

        Raises psycopg's `DataError` for what can't be the ID of one.
        """
        cursor = self._connection.cursor(binary=True)
        await cursor.execute(self._sql(SELECT_AGGREGATE), [originator_id, limit])
        return [_notification(*row) async for row in cursor]

    async def by_aggregate(self, until: int) -> AsyncGenerator[Notification, None]:
        """Yield all notifications up to a position, ordered by aggregate and version."""
        async with (
            self._connection.transaction(),
            self._connection.cursor(name="by_aggregate", binary=True) as cursor,
        ):
            cursor.itersize = FETCHED_EVENTS
            await cursor.execute(self._sql(SELECT_BY_AGGREGATE), [until])
            async for row in cursor:
                yield _notification(*row)

    def _sql(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(table=self._table)


def _notification(
    position: int, originator_id: Any, version: int, topic: str, state: bytes
) -> Notification:
    return Notification(
        id=position,
        originator_id=originator_id,
        originator_version=version,
        topic=topic,
        state=state,
    )
