"""An outbox that keeps the trace context of each command beside its events.

It is switched on by a setting of the library, `APPLICATION_RECORDER_TOPIC`, which the application
and its relay share. The contexts are in a table of their own, written in the transaction of the
events, and only for commands that are being traced. What is stored of the events is the same as
without it: whoever does not have the setting reads and writes them as before, and the rows of the
table may be deleted at any time.

Writers that go through `POSTGRES_ENABLE_DB_FUNCTIONS` leave no context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString, Self

import psycopg
from eventsourcing.persistence import Notification, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresProcessRecorder
from psycopg import Cursor, sql
from psycopg.rows import DictRow

from eventsourcing_kafka.producer.outbox.postgres import EventsInPostgres, PostgresOutbox
from eventsourcing_kafka.producer.wire.tracing import (
    TRACEPARENT,
    TRACESTATE,
    TracedNotification,
    creating,
    current_trace,
)

SUFFIX = "_traces"

CREATE_TRACES: LiteralString = """
    CREATE TABLE IF NOT EXISTS {traces} (
        originator_id {id_type} NOT NULL,
        originator_version bigint NOT NULL,
        traceparent text NOT NULL,
        tracestate text,
        traced_at timestamptz NOT NULL DEFAULT now()
    )
"""

# Not unique: that the events' table is. Writers must not wait for each other here.
CREATE_INDEX: LiteralString = """
    CREATE INDEX IF NOT EXISTS {index} ON {traces} (originator_id, originator_version)
"""

INSERT_TRACES: LiteralString = """
    INSERT INTO {traces} (originator_id, originator_version, traceparent, tracestate)
    SELECT originator_id, originator_version, %s, %s
      FROM unnest(%s::{id_type}[], %s::bigint[]) AS event (originator_id, originator_version)
"""

# A subquery, not a join: no planner will think of reading all of the traces for a batch.
SELECT_NOTIFICATIONS: LiteralString = """
    SELECT notification_id, originator_id, originator_version, topic, state,
           (SELECT ARRAY[traceparent, tracestate]
              FROM {traces} AS trace
             WHERE trace.originator_id = event.originator_id
               AND trace.originator_version = event.originator_version
             LIMIT 1)
      FROM {table} AS event
     WHERE notification_id > %(after)s
     ORDER BY notification_id
     LIMIT %(limit)s
"""


class TracedRecorder(PostgresApplicationRecorder):
    """Records events, and the context of the span that records them if it is sampled."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.traces_table_name = f"{self.events_table_name}{SUFFIX}"
        index = f"{self.traces_table_name}_idx"
        self.check_identifier_length(index)
        self._names = {
            "traces": sql.Identifier(self.datastore.schema, self.traces_table_name),
            "index": sql.Identifier(index),
            "id_type": sql.Identifier(self.datastore.originator_id_type),
        }
        self.sql_create_statements += [
            sql.SQL(CREATE_TRACES).format(**self._names),
            sql.SQL(CREATE_INDEX).format(**self._names),
        ]

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Write stored events, in a span."""
        with creating(self.events_table_name, len(stored_events)):
            recorded: Sequence[int] | None = super().insert_events(stored_events, **kwargs)
            return recorded

    def _insert_events(
        self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> None:
        super()._insert_events(curs, stored_events, **kwargs)
        trace = current_trace()
        if trace:
            ids = [event.originator_id for event in stored_events]
            versions = [event.originator_version for event in stored_events]
            curs.execute(
                sql.SQL(INSERT_TRACES).format(**self._names),
                (trace[TRACEPARENT], trace.get(TRACESTATE), ids, versions),
            )


class TracedProcessRecorder(TracedRecorder, PostgresProcessRecorder):
    """The same for an application that follows another: `PROCESS_RECORDER_TOPIC`."""


class TracedOutbox(PostgresOutbox):
    """Reads the table of a `TracedRecorder`, with the contexts."""

    @classmethod
    def of(cls, recorder: EventsInPostgres, **options: Any) -> Self:
        """Read the tables of the recorder, connecting as it does."""
        outbox = super().of(recorder, **options)
        table = f"{recorder.events_table_name}{SUFFIX}"
        traces = sql.Identifier(recorder.datastore.schema, table)
        outbox._names["traces"] = traces  # noqa: SLF001 - it is one of these
        return outbox

    async def _select(
        self, connection: psycopg.AsyncConnection[Any], after: int, limit: int
    ) -> list[Notification]:
        cursor = connection.cursor(binary=True)
        statement = self._sql(SELECT_NOTIFICATIONS)
        await cursor.execute(statement, {"after": after, "limit": limit}, prepare=True)
        return [
            TracedNotification(
                id=position,
                originator_id=originator_id,
                originator_version=version,
                topic=topic,
                state=state,
                trace_headers=_headers(*trace) if trace else (),
            )
            async for position, originator_id, version, topic, state, trace in cursor
        ]


def _headers(traceparent: str, tracestate: str | None) -> list[tuple[str, bytes]]:
    headers = [(TRACEPARENT, traceparent.encode())]
    return [*headers, (TRACESTATE, tracestate.encode())] if tracestate else headers
