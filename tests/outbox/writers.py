"""Writers of events: the library's way, and with bare SQL that locks and tells nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from uuid import uuid4

import anyio
from anyio import to_thread
from eventsourcing.persistence import ApplicationRecorder, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.producer.runtime.postgres import connect_arguments


def write(recorder: ApplicationRecorder, count: int = 1) -> list[int]:
    """Store events through the library, and return their positions."""
    events = [StoredEvent(uuid4(), 1, "some:topic", b"{}") for _ in range(count)]
    return list(recorder.insert_events(events) or ())


async def write_in_a_thread(recorder: ApplicationRecorder, count: int = 1) -> list[int]:
    return await to_thread.run_sync(write, recorder, count)


class Table:
    """An events table, written by whoever has SQL."""

    def __init__(self, recorder: PostgresApplicationRecorder) -> None:
        self._connect = connect_arguments(recorder.datastore)
        self.name = sql.Identifier(recorder.datastore.schema, recorder.events_table_name)

    @asynccontextmanager
    async def connection(self, *, autocommit: bool = False) -> AsyncIterator[AsyncConnection[Any]]:
        """Connect; what is not committed at the end is rolled back."""
        connection = await AsyncConnection.connect(**self._connect, autocommit=autocommit)
        try:
            # A writer that waits for a reader's lock shall fail, not wait.
            await connection.execute("SET lock_timeout = '2s'")
            await connection.commit()
            yield connection
        finally:
            await connection.close()

    async def insert(self, connection: AsyncConnection[Any]) -> int:
        """Insert an event, with no lock but the INSERT's own and no NOTIFY; return its position."""
        statement = sql.SQL(
            "INSERT INTO {} (originator_id, originator_version, topic, state)"
            " VALUES (gen_random_uuid(), 1, 'some:topic', '{{}}') RETURNING notification_id"
        ).format(self.name)
        row = await (await connection.execute(statement)).fetchone()
        assert row
        return int(row[0])

    async def insert_and_commit(self) -> int:
        async with self.connection(autocommit=True) as connection:
            return await self.insert(connection)

    async def until(self, condition: LiteralString, seconds: float = 10.0) -> None:
        """Wait until a query finds a row."""
        with anyio.fail_after(seconds):
            async with self.connection(autocommit=True) as connection:
                while not (await connection.execute(condition)).rowcount:  # noqa: ASYNC110 - locks tell nobody
                    await anyio.sleep(0.01)

    async def execute(self, statement: LiteralString) -> None:
        async with self.connection(autocommit=True) as connection:
            await connection.execute(statement)
