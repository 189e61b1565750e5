"""Positions, and the guard.

A tracking row says up to which record a view has applied one partition of an application's topic:
by position and identity, so that another event at the same position is not taken for it. It
changes in the transaction that changes the view, and only from the exact values that this consumer
saw last. If they are others, somebody else moved them: another owner of the
partition, a replay, a rebuilt generation. Then the transaction rolls back, the rows are read
again, and the consumer goes on from there. That is the whole answer to zombies and rebalances:
no clock, no lease, no Kafka offset takes part in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

from psycopg import AsyncConnection, sql

from eventsourcing_kafka.consumer.engine.answers import Answer
from eventsourcing_kafka.producer.wire.chain import LARGEST_POSITION, Link

if TYPE_CHECKING:
    from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord

CREATE_TRACKING: LiteralString = """
    CREATE TABLE {schema}.tracking (
        application text NOT NULL,
        partition integer NOT NULL,
        position bigint NOT NULL,
        identity text NOT NULL DEFAULT '',
        record_offset bigint NOT NULL DEFAULT -1,
        next_offset bigint NOT NULL,
        records bigint NOT NULL DEFAULT 0,
        stopped text,
        shape text NOT NULL,
        moved_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (application, partition)
    ) WITH (fillfactor = 50)
"""

# One row for every partition, so that their number is known to those who wait for a position.
INSERT_PARTITIONS: LiteralString = """
    INSERT INTO {schema}.tracking (application, partition, position, next_offset, shape)
    SELECT %(application)s, partition, 0, 0, %(shape)s
      FROM generate_series(0, %(partitions)s - 1) AS partition
"""

SELECT_TRACKING: LiteralString = """
    SELECT partition, position, next_offset, identity, record_offset
      FROM {schema}.tracking
     WHERE application = %(application)s
       AND partition = ANY(%(partitions)s)
"""

# The guard. The shape is of the tables beside it: a generation that other code has filled may
# have the same positions.
MOVE_TRACKING: LiteralString = """
    WITH tracked AS (
        UPDATE {schema}.tracking AS tracking
           SET position = moved.position, next_offset = moved.next_offset,
               identity = moved.identity, record_offset = moved.record_offset,
               records = tracking.records + moved.records, stopped = moved.stopped, moved_at = now()
          FROM unnest(%(partitions)s::integer[],
                      %(seen_positions)s::bigint[], %(seen_offsets)s::bigint[],
                      %(seen_identities)s::text[],
                      %(positions)s::bigint[], %(offsets)s::bigint[],
                      %(identities)s::text[], %(record_offsets)s::bigint[],
                      %(records)s::bigint[], %(stopped)s::text[])
               AS moved (partition, seen_position, seen_offset, seen_identity, position,
                         next_offset, identity, record_offset, records, stopped)
         WHERE tracking.application = %(application)s
           AND tracking.partition = moved.partition
           AND tracking.position = moved.seen_position
           AND tracking.next_offset = moved.seen_offset
           AND tracking.identity = moved.seen_identity
           AND tracking.shape = %(shape)s
        RETURNING tracking.partition)
    SELECT count(*), pg_notify(%(channel)s, '') FROM tracked
"""

NOTIFY: LiteralString = "SELECT pg_notify(%s, '')"

# Whoever moves a row waits until the transaction has ended, and then looks the table's name up
# again. Readers do not wait.
HOLD_TRACKING: LiteralString = "LOCK TABLE {schema}.tracking IN EXCLUSIVE MODE"

# It lets others move rows, and no replay begin.
HOLD_REPLAYS: LiteralString = "LOCK TABLE {schema}.tracking IN ROW SHARE MODE"

SELECT_SHAPE: LiteralString = "SELECT shape FROM {schema}.tracking LIMIT 1"

SELECT_PROGRESS: LiteralString = """
    SELECT partition, position, next_offset, identity, record_offset, records,
           (SELECT count(*)
              FROM {schema}.parked
             WHERE parked.application = tracking.application
               AND parked.partition = tracking.partition),
           (SELECT coalesce(sum(last_offset - first_offset + 1), 0)::bigint
              FROM {schema}.dropped
             WHERE dropped.application = tracking.application
               AND dropped.partition = tracking.partition),
           stopped
      FROM {schema}.tracking
     WHERE application = %(application)s
     ORDER BY partition
"""

# What each version of the table has.
SELECT_OFFSETS: LiteralString = """
    SELECT partition, next_offset FROM {schema}.tracking WHERE application = %(application)s
"""

RESET_TRACKING: LiteralString = """
    UPDATE {schema}.tracking
       SET position = 0, next_offset = 0, identity = '', record_offset = -1, records = 0,
           stopped = NULL, moved_at = now()
     WHERE application = %(application)s
       AND partition = ANY(%(partitions)s)
"""

SELECT_POSITIONS: LiteralString = """
    SELECT position FROM {schema}.tracking WHERE application = %(application)s ORDER BY partition
"""

RESHAPE: LiteralString = """
    UPDATE {schema}.tracking SET shape = %(shape)s WHERE application = %(application)s
"""

COUNT_PARTITIONS: LiteralString = """
    SELECT count(*) FROM {schema}.tracking WHERE application = %(application)s
"""


LONGEST_NAME = 63
"""Bytes of a name in Postgres."""


NOWHERE = -1
"""The offset of what is in no topic."""

IN_WRITE_MODEL = -(LARGEST_POSITION + 1)
"""From here on the places of the write model are counted, by positions: below all offsets of Kafka,
and growing as they do. So a view that reads there is tracked, and guarded, as ever."""


def place_in_write_model(position: int) -> int:
    """Return what stands for the offset of the event at a position of the write model."""
    return IN_WRITE_MODEL + position - 1


def place_behind(position: int) -> int:
    """Return where the write model is read on behind the event at a position."""
    return place_in_write_model(position) + 1


class Tracking(NamedTuple):
    """Up to where one partition is applied."""

    partition: int
    position: int
    """The highest position that is applied; 0 before the first."""
    offset: int
    """The Kafka offset to go on from: a hint, as the chain tells whether it is right. Below 0 it is
    a place in the write model, which has what Kafka has deleted."""
    identity: str = ""
    """Of the event at that position; empty if it is not known."""
    record_offset: int = NOWHERE
    """Where its record was in Kafka, a hint as well; -1 before the first."""

    @property
    def link(self) -> Link:
        """The record that is applied last, which the next one must name as its predecessor."""
        return Link(self.position, self.identity)

    @property
    def is_in_write_model(self) -> bool:
        """Whether it goes on from the write model."""
        return self.offset < 0

    def in_write_model(self) -> Tracking:
        """Return the same, to go on from the write model."""
        return self._replace(offset=place_behind(self.position), record_offset=NOWHERE)


class Move(NamedTuple):
    """A step of the tracking of one partition."""

    seen: Tracking
    to: Tracking
    records: int = 0
    """How many records it takes in."""
    stopped: str | None = None
    """Why it ends before an event that can't be applied, or that does not follow."""
    news: Sequence[ConsumedRecord] = ()
    """Those of the records that were not applied before."""


class TrackingProgress(NamedTuple):
    """How far one partition is, and what there is to say about it."""

    tracking: Tracking
    records: int
    """How many records the view has taken in."""
    parked: int = 0
    dropped: int = 0
    """Offsets that were given up: of dropped events, and of what an operator skipped."""
    stopped: str | None = None


class TrackingTable:
    """The tracking rows of one view for one application.

    `shape` tells in which shape the code that runs would make the view's tables. Those who wait
    for a position listen to `channel`.
    """

    def __init__(self, schema: str, application_name: str, shape: str) -> None:
        # Postgres refuses a longer name here, where it cuts that of a schema.
        self.channel = f"{schema}_tracking".encode()[:LONGEST_NAME].decode(errors="ignore")
        self._schema = schema
        self._application_name = application_name
        self._shape = shape

    async def create(self, connection: AsyncConnection[Any], partitions: int) -> None:
        """Create the table, and a row for every partition."""
        await connection.execute(self._sql(CREATE_TRACKING))
        await self._execute(connection, INSERT_PARTITIONS, partitions=partitions, shape=self._shape)

    async def shape(self, connection: AsyncConnection[Any]) -> str | None:
        """Return the shape that the view's tables were made in; None before they are made."""
        table = sql.Identifier(self._schema, "tracking").as_string()
        cursor = await connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table])
        if await cursor.fetchone() != (True,):
            return None
        cursor = await connection.execute(self._sql(SELECT_SHAPE))
        row = await cursor.fetchone()
        return str(row[0]) if row else None

    async def reshape(self, connection: AsyncConnection[Any], shape: str) -> None:
        """Say that the tables are in another shape: who has seen the one before moves nothing."""
        await self._execute(connection, RESHAPE, shape=shape)

    async def read(
        self, connection: AsyncConnection[Any], partitions: Collection[int]
    ) -> Mapping[int, Tracking]:
        """Return the tracking of each of some partitions."""
        cursor = await self._execute(connection, SELECT_TRACKING, partitions=list(partitions))
        return {row[0]: Tracking(*row) for row in await cursor.fetchall()}

    async def move(self, connection: AsyncConnection[Any], moves: Sequence[Move]) -> Answer[bool]:
        """Move the rows from exactly what was seen; False if a single one is not as it was seen.

        The transaction must be rolled back then: some rows may have moved. Those who wait are
        woken when it commits.
        """
        cursor = await self._execute(
            connection,
            MOVE_TRACKING,
            partitions=[move.seen.partition for move in moves],
            seen_positions=[move.seen.position for move in moves],
            seen_offsets=[move.seen.offset for move in moves],
            seen_identities=[move.seen.identity for move in moves],
            positions=[move.to.position for move in moves],
            offsets=[move.to.offset for move in moves],
            identities=[move.to.identity for move in moves],
            record_offsets=[move.to.record_offset for move in moves],
            records=[move.records for move in moves],
            stopped=[move.stopped for move in moves],
            shape=self._shape,
            channel=self.channel,
        )

        async def have_moved() -> bool:
            row = await cursor.fetchone()
            return bool(row[0] == len(moves))

        return have_moved

    async def notify(self, connection: AsyncConnection[Any]) -> None:
        """Wake those who wait for a position, when the transaction commits."""
        await connection.execute(NOTIFY, [self.channel])

    async def hold(self, connection: AsyncConnection[Any]) -> None:
        """Keep everybody else from moving any row until the transaction ends."""
        await connection.execute(self._sql(HOLD_TRACKING))

    async def hold_replays(self, connection: AsyncConnection[Any]) -> None:
        """Keep replays from beginning until the transaction ends."""
        await connection.execute(self._sql(HOLD_REPLAYS))

    async def progress(self, connection: AsyncConnection[Any]) -> Sequence[TrackingProgress]:
        """Return how far each partition is."""
        cursor = await self._execute(connection, SELECT_PROGRESS)
        return [TrackingProgress(Tracking(*row[:5]), *row[5:]) for row in await cursor.fetchall()]

    async def offsets(self, connection: AsyncConnection[Any]) -> Mapping[int, int]:
        """Return the offset to go on from of each partition, whichever version made the table."""
        cursor = await self._execute(connection, SELECT_OFFSETS)
        return dict(await cursor.fetchall())

    async def reset(self, connection: AsyncConnection[Any], partitions: Collection[int]) -> None:
        """Set partitions back to the start."""
        await self._execute(connection, RESET_TRACKING, partitions=list(partitions))

    async def positions(self, connection: AsyncConnection[Any]) -> Sequence[int]:
        """Return up to which position each partition is applied, of all in their order."""
        cursor = await self._execute(connection, SELECT_POSITIONS)
        return [row[0] for row in await cursor.fetchall()]

    async def count(self, connection: AsyncConnection[Any]) -> int:
        """Return the number of partitions; 0 before a consumer has seen the topic."""
        cursor = await self._execute(connection, COUNT_PARTITIONS)
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    def _sql(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(schema=sql.Identifier(self._schema))

    async def _execute(
        self, connection: AsyncConnection[Any], statement: LiteralString, **parameters: Any
    ) -> Any:
        return await connection.execute(
            self._sql(statement), {"application": self._application_name, **parameters}
        )
