"""Events that can't be applied: set aside with their reason, in order, and never lost.

An event is parked in the transaction that moves the tracking past it, and so is every later
event of the same aggregate; all other aggregates go on. What is foreign is of no aggregate,
whatever it says: it is set aside alone. What is set aside is known by its position, wherever it is
read from; what is foreign has none, and is known by its topic and offset. A person
then mends what is wrong and has them tried again, or drops the first of them. A drop is recorded
for ever, with who, when and why.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import class_row

from eventsourcing_kafka.consumer.engine.answers import Answer
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, RawRecord
from eventsourcing_kafka.consumer.engine.tracking import NOWHERE, Tracking
from eventsourcing_kafka.producer.wire.chain import Link, link_in

CREATE_PARKED: LiteralString = """
    CREATE TABLE {schema}.parked (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        application text NOT NULL,
        partition integer NOT NULL,
        topic text NOT NULL,
        record_offset bigint NOT NULL,
        position bigint,
        originator_id text NOT NULL,
        originator_version bigint,
        type text,
        key bytea,
        value bytea,
        headers bytea NOT NULL,
        reason text NOT NULL,
        traceback text NOT NULL,
        parked_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (application, partition, position)
    )
"""

# What is foreign has no position.
CREATE_FOREIGN_INDEX: LiteralString = """
    CREATE UNIQUE INDEX parked_foreign ON {schema}.parked (topic, partition, record_offset)
     WHERE position IS NULL
"""

# By hash: what can't be read may have a key of any length, and a B-tree takes no long ones.
CREATE_PARKED_INDEX: LiteralString = """
    CREATE INDEX parked_originator ON {schema}.parked USING hash (originator_id)
"""

# A drop has one position, or one place in a topic if it was foreign; a skip, which an operator
# makes with Kafka's own tool, has all positions after a record up to another one.
CREATE_DROPPED: LiteralString = """
    CREATE TABLE {schema}.dropped (
        application text NOT NULL,
        partition integer NOT NULL,
        topic text,
        first_offset bigint NOT NULL,
        last_offset bigint NOT NULL,
        position bigint,
        skipped_after text,
        skipped_to text,
        first_position bigint,
        last_position bigint,
        originator_id text,
        type text,
        failure text,
        dropped_by text NOT NULL,
        reason text NOT NULL,
        dropped_at timestamptz NOT NULL DEFAULT now()
    )
"""

# For a restore beside tables that are there already; nothing is given up at the same place at once.
# Of what came from the write model the place is the position.
CREATE_DROPPED_INDEX: LiteralString = """
    CREATE UNIQUE INDEX dropped_once
        ON {schema}.dropped (application, partition, coalesce(topic, ''), first_offset,
                             coalesce(position, 0), dropped_at)
"""

INSERT_PARKED: LiteralString = """
    INSERT INTO {schema}.parked (
           application, partition, topic, record_offset, position, originator_id,
           originator_version, type, key, value, headers, reason, traceback)
    VALUES (%(application)s, %(partition)s, %(topic)s, %(record_offset)s, %(position)s,
            %(originator_id)s, %(originator_version)s, %(type)s, %(key)s, %(value)s, %(headers)s,
            %(reason)s, %(traceback)s)
        ON CONFLICT DO NOTHING
"""

# Both in one question: it is asked for every batch, and hardly ever is there anything.
SELECT_SET_ASIDE: LiteralString = """
    SELECT DISTINCT originator_id, NULL::integer, NULL::bigint, NULL::bigint, NULL::text
      FROM {schema}.parked
     WHERE originator_id = ANY(%(originators)b)
       AND position IS NOT NULL
     UNION ALL
    SELECT NULL, partition, coalesce(first_position, position, first_offset),
           coalesce(last_position, position, last_offset),
           CASE WHEN coalesce(last_position, position) IS NULL THEN topic END
      FROM {schema}.dropped
     WHERE application = %(application)s
       AND partition = ANY(%(partitions)s)
       AND (coalesce(last_position, position) >= %(first_position)s
            OR (coalesce(last_position, position) IS NULL AND topic = ANY(%(topics)s)))
"""

SELECT_PARKED: LiteralString = """
    SELECT id, application, partition, topic, record_offset, position, originator_id,
           originator_version, type, key, value, headers, reason, traceback, parked_at
      FROM {schema}.parked
"""

COUNT_PARKED: LiteralString = """
    SELECT count(*)
      FROM {schema}.parked
     WHERE %(originator_id)s::text IS NULL OR originator_id = %(originator_id)s
"""

# Anybody may have written the texts, and of any length. One character more tells that it is cut.
SELECT_LISTED: LiteralString = """
    SELECT id, partition, record_offset, position, left(originator_id, 201), originator_version,
           left(type, 201), left(reason, 1001), parked_at,
           EXISTS (SELECT 1
                     FROM {schema}.parked AS earlier
                    WHERE earlier.originator_id = parked.originator_id
                      AND earlier.position IS NOT NULL AND parked.position IS NOT NULL
                      AND earlier.id < parked.id)
      FROM {schema}.parked
     WHERE id > %(after)s
     ORDER BY id
     LIMIT %(limit)s
"""

DELETE_PARKED: LiteralString = "DELETE FROM {schema}.parked WHERE id = ANY(%(ids)s)"

INSERT_DROPPED: LiteralString = """
    INSERT INTO {schema}.dropped (
           application, partition, topic, first_offset, last_offset, position, skipped_after,
           skipped_to, first_position, last_position, originator_id, type, failure, dropped_by,
           reason)
    VALUES (%(application)s, %(partition)s, %(topic)s, %(first_offset)s, %(last_offset)s,
            %(position)s, %(skipped_after)s, %(skipped_to)s, %(first_position)s, %(last_position)s,
            %(originator_id)s, %(type)s, %(failure)s, %(dropped_by)s, %(reason)s)
"""

SELECT_DROPPED: LiteralString = """
    SELECT partition, topic, first_offset, last_offset, position, skipped_after, skipped_to,
           first_position, last_position, type, originator_id, failure, dropped_by, reason,
           dropped_at
      FROM {schema}.dropped
     WHERE application = %(application)s
     ORDER BY dropped_at, partition
"""

# By the names of the columns: another version may have made the other table.
COPY_DROPPED: LiteralString = """
    INSERT INTO {to}.dropped
    SELECT (jsonb_populate_record(NULL::{to}.dropped, to_jsonb(dropped))).* FROM {schema}.dropped
    EXCEPT
    SELECT * FROM {to}.dropped
"""

MAKE = (
    CREATE_PARKED,
    CREATE_PARKED_INDEX,
    CREATE_FOREIGN_INDEX,
    CREATE_DROPPED,
    CREATE_DROPPED_INDEX,
)
"""What makes the tables."""

BEHIND = "An earlier event of this aggregate is parked."


class SetAside(NamedTuple):
    """What is known of a batch before it is applied."""

    parked: set[str]
    """Aggregates that have parked events: what is new of them is parked behind. What is foreign
    holds up none."""
    dropped: Sequence[tuple[int, range, str | None]]
    """Partitions, and positions in them that were given up, or skipped; with the name of a topic it
    is offsets in that, of what was foreign."""

    def has_dropped(self, record: ConsumedRecord) -> bool:
        """Tell whether a record was given up before."""
        if not self.dropped:  # As ever: it is asked of each record.
            return False
        at, topic = (
            (record.envelope.position, None) if record.envelope else (record.offset, record.topic)
        )
        return any(
            (record.partition, topic) == (number, foreign) and at in given
            for number, given, foreign in self.dropped
        )


class Parked(msgspec.Struct, frozen=True):
    """A parked event."""

    id: int
    application: str
    partition: int
    topic: str
    record_offset: int
    position: int | None
    """None if it is foreign."""
    originator_id: str
    """Of the aggregate; the record's key if the headers can't be read."""
    originator_version: int | None
    type: str | None
    key: bytes | None
    value: bytes | None
    headers: bytes
    reason: str
    traceback: str
    parked_at: datetime

    def record(self) -> RawRecord:
        """Return the record as Kafka had it."""
        headers = msgspec.msgpack.decode(self.headers, type=list[tuple[str, Any]])
        return RawRecord(
            self.topic, self.partition, self.record_offset, self.key, self.value, headers
        )


class Listed(NamedTuple):
    """What a list shows of a parked event: texts are cut."""

    id: int
    partition: int
    record_offset: int
    position: int | None
    originator_id: str
    originator_version: int | None
    type: str | None
    reason: str
    parked_at: datetime
    behind: bool
    """Whether another one of its aggregate is to be retried or dropped first."""


class Dropped(msgspec.Struct, frozen=True):
    """What was given up for ever: an event that was dropped, or positions that were skipped."""

    partition: int
    topic: str | None
    first_offset: int
    last_offset: int
    position: int | None
    skipped_after: str | None
    """The record that was applied before those that were skipped."""
    skipped_to: str | None
    """The last one of those."""
    first_position: int | None
    last_position: int | None
    type: str | None
    originator_id: str | None
    failure: str | None
    """Why it could not be applied."""
    dropped_by: str
    reason: str
    """Why it was given up."""
    dropped_at: datetime

    def covers(self, partition: int, position: int) -> bool:
        """Tell whether an event was given up by it."""
        first = self.position if self.first_position is None else self.first_position
        last = self.position if self.last_position is None else self.last_position
        if first is None or last is None:  # What is foreign is no event.
            return False
        return self.partition == partition and first <= position <= last


class Skip(NamedTuple):
    """An operator's word that a view is to go on without some positions: those after T, up to."""

    seen: Tracking
    topic: str
    offset: int
    """What lies before it, and is not applied yet, is passed over."""
    to: Link
    """The predecessor of the record there: the last one that is passed over."""

    @property
    def row(self) -> dict[str, Any]:
        """What is kept of it for ever."""
        return {
            "partition": self.seen.partition,
            "topic": self.topic,
            "first_offset": max(0, self.seen.offset),
            "last_offset": max(self.seen.offset, self.offset) - 1,
            "position": None,
            "skipped_after": self.seen.link.text,
            "skipped_to": self.to.text,
            "first_position": self.seen.position + 1,
            "last_position": self.to.position,
            "originator_id": None,
            "type": None,
            "failure": None,
            "dropped_by": "kafka-consumer-groups",
            "reason": "The group's offset was reset to the future.",
        }


def permits(dropped: Iterable[Dropped], seen: Tracking, to: Link) -> bool:
    """Tell whether an operator has let a view go on from what was seen behind another record."""
    return any(
        row.partition == seen.partition
        and row.skipped_after is not None
        and row.skipped_to is not None
        and _is_between(link_in(row.skipped_after), seen.link, to, link_in(row.skipped_to))
        for row in dropped
    )


def _is_between(after: Link, start: Link, end: Link, last: Link) -> bool:
    return (
        (start == after or start.position > after.position)
        and start.position <= end.position
        and (end == last or end.position < last.position)
    )


class Parking:
    """The parked and the dropped events of one view."""

    def __init__(self, schema: str, application_name: str) -> None:
        self._schema = sql.Identifier(schema)
        self._application_name = application_name

    async def create(self, connection: AsyncConnection[Any]) -> None:
        """Create the tables."""
        for statement in MAKE:
            await connection.execute(self._sql(statement))

    async def set_aside(
        self, connection: AsyncConnection[Any], records: Sequence[ConsumedRecord]
    ) -> Answer[SetAside]:
        """Return what of some records is to be treated otherwise than applied."""
        cursor = await connection.execute(
            self._sql(SELECT_SET_ASIDE),
            {
                "application": self._application_name,
                "originators": list({record.originator_id for record in records}),
                "partitions": list({record.partition for record in records}),
                "topics": list({record.topic for record in records}),
                "first_position": min(
                    (record.envelope.position for record in records if record.envelope), default=0
                ),
            },
        )

        async def found() -> SetAside:
            rows = await cursor.fetchall()
            return SetAside(
                {originator for originator, *_ in rows if originator is not None},
                [(row[1], range(row[2], row[3] + 1), row[4]) for row in rows if row[0] is None],
            )

        return found

    async def dropped(self, connection: AsyncConnection[Any]) -> Sequence[Dropped]:
        """Return what was given up, the oldest first."""
        cursor = connection.cursor(row_factory=class_row(Dropped))
        await cursor.execute(self._sql(SELECT_DROPPED), {"application": self._application_name})
        return await cursor.fetchall()

    async def copy_dropped(self, connection: AsyncConnection[Any], to: str) -> None:
        """Have another generation know what was given up in this one."""
        copy = sql.SQL(COPY_DROPPED).format(schema=self._schema, to=sql.Identifier(to))
        await connection.execute(copy)

    async def park(
        self, connection: AsyncConnection[Any], record: ConsumedRecord, reason: Exception | None
    ) -> bool:
        """Set an event aside; without a reason of its own it is behind another one."""
        row = parked_row(self._application_name, record, reason)
        await connection.execute(self._sql(INSERT_PARKED), row)
        return True

    async def select(
        self,
        connection: AsyncConnection[Any],
        *,
        originator_id: str | None = None,
        event_id: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Parked]:
        """Return parked events in their order: of one aggregate, a single one, or all."""
        condition: sql.Composable = sql.SQL("")
        if originator_id is not None:
            condition = sql.SQL(" WHERE originator_id = {}").format(originator_id)
        elif event_id is not None:
            condition = sql.SQL(" WHERE id = {}").format(event_id)
        cursor = connection.cursor(row_factory=class_row(Parked))
        await cursor.execute(
            self._sql(SELECT_PARKED) + condition + sql.SQL(" ORDER BY id LIMIT {}").format(limit)
        )
        return await cursor.fetchall()

    async def listed(
        self, connection: AsyncConnection[Any], *, after: int, limit: int
    ) -> Sequence[Listed]:
        """Return what a list shows of the parked events after one, in their order."""
        cursor = await connection.execute(
            self._sql(SELECT_LISTED), {"after": after, "limit": limit}
        )
        return [Listed(*row) for row in await cursor.fetchall()]

    async def count(
        self, connection: AsyncConnection[Any], *, originator_id: str | None = None
    ) -> int:
        """Return how many events are parked, of one aggregate or of all."""
        cursor = await connection.execute(self._sql(COUNT_PARKED), {"originator_id": originator_id})
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def remove(self, connection: AsyncConnection[Any], parked: Sequence[Parked]) -> None:
        """Take events out: they are applied, or dropped."""
        await connection.execute(self._sql(DELETE_PARKED), {"ids": [event.id for event in parked]})

    async def record_drop(
        self, connection: AsyncConnection[Any], parked: Parked, *, by: str, reason: str
    ) -> None:
        """Record for ever that an event is not applied."""
        await self._record(connection, **dropped_row(parked, by=by, reason=reason))

    async def record_skip(self, connection: AsyncConnection[Any], skip: Skip) -> None:
        """Record for ever, and once, that an operator had the view pass over some positions."""
        if not permits(await self.dropped(connection), skip.seen, skip.to):
            await self._record(connection, **skip.row)

    async def _record(self, connection: AsyncConnection[Any], **drop: Any) -> None:
        await connection.execute(
            self._sql(INSERT_DROPPED), {"application": self._application_name, **drop}
        )

    def _sql(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(schema=self._schema)


def parked_row(
    application_name: str, record: ConsumedRecord, reason: Exception | None
) -> dict[str, Any]:
    """Return what is kept of an event that is set aside, wherever it is kept."""
    envelope = record.envelope
    return {
        "application": application_name,
        "partition": record.partition,
        "topic": record.topic,
        "record_offset": max(record.offset, NOWHERE),  # In the write model there are none.
        "position": envelope.position if envelope else None,
        "originator_id": record.originator_id,
        "originator_version": envelope.version if envelope else None,
        "type": _storable(envelope.type) if envelope else None,
        "key": record.key,
        "value": record.value,
        "headers": msgspec.msgpack.encode([list(header) for header in record.headers]),
        "reason": _storable(f"{type(reason).__name__}: {reason}") if reason else BEHIND,
        "traceback": _storable("".join(traceback.format_exception(reason))) if reason else "",
    }


def dropped_row(parked: Parked, *, by: str, reason: str) -> dict[str, Any]:
    """Return what is kept for ever of an event that is dropped."""
    return {
        "partition": parked.partition,
        "topic": parked.topic,
        "first_offset": parked.record_offset,
        "last_offset": parked.record_offset,
        "position": parked.position,
        "skipped_after": None,
        "skipped_to": None,
        "first_position": None,
        "last_position": None,
        "originator_id": parked.originator_id,
        "type": parked.type,
        "failure": parked.reason,
        "dropped_by": by,
        "reason": reason,
    }


def _storable(text: str) -> str:
    """Return text that databases take, whatever was in the record."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
