"""What is kept beside a follower's recorder that is not in Postgres.

That is its parked and its dropped events, as a view in Postgres keeps them, and up to which record
each partition is applied: the library's own tracking knows positions, and neither identities nor
offsets. Each event is a transaction of the library's, so what a batch is about to apply is noted
before it: whichever of its events the library has recorded last, its record is known.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

from eventsourcing.persistence import IntegrityError
from eventsourcing.persistence import Tracking as LibraryTracking
from msgspec.structs import asdict

from eventsourcing_kafka.consumer.engine.answers import Answer, already
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord
from eventsourcing_kafka.consumer.engine.parking import (
    Dropped,
    Parked,
    SetAside,
    Skip,
    dropped_row,
    parked_row,
    permits,
)
from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking, TrackingProgress
from eventsourcing_kafka.consumer.hosting.local.host import LocalHost
from eventsourcing_kafka.consumer.hosting.local.sqlite import SQLiteDatabase

logger = logging.getLogger(__name__)

CREATE_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS parked (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        application TEXT NOT NULL,
        partition INTEGER NOT NULL,
        topic TEXT NOT NULL,
        record_offset INTEGER NOT NULL,
        position INTEGER,
        originator_id TEXT NOT NULL,
        originator_version INTEGER,
        type TEXT,
        key BLOB,
        value BLOB,
        headers BLOB NOT NULL,
        reason TEXT NOT NULL,
        traceback TEXT NOT NULL,
        parked_at TEXT NOT NULL,
        UNIQUE (application, partition, position)
    )
    """,
    """
    CREATE UNIQUE INDEX IF NOT EXISTS parked_foreign ON parked (topic, partition, record_offset)
     WHERE position IS NULL
    """,
    "CREATE INDEX IF NOT EXISTS parked_originator ON parked (originator_id)",
    """
    CREATE TABLE IF NOT EXISTS dropped (
        application TEXT NOT NULL,
        partition INTEGER NOT NULL,
        topic TEXT,
        first_offset INTEGER NOT NULL,
        last_offset INTEGER NOT NULL,
        position INTEGER,
        skipped_after TEXT,
        skipped_to TEXT,
        first_position INTEGER,
        last_position INTEGER,
        type TEXT,
        originator_id TEXT,
        failure TEXT,
        dropped_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        dropped_at TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS followed (
        application TEXT NOT NULL,
        partition INTEGER NOT NULL,
        position INTEGER NOT NULL DEFAULT 0,
        next_offset INTEGER NOT NULL DEFAULT 0,
        identity TEXT NOT NULL DEFAULT '',
        record_offset INTEGER NOT NULL DEFAULT -1,
        records INTEGER NOT NULL DEFAULT 0,
        stopped TEXT,
        PRIMARY KEY (application, partition)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS begun (
        application TEXT NOT NULL,
        partition INTEGER NOT NULL,
        position INTEGER NOT NULL,
        identity TEXT NOT NULL,
        record_offset INTEGER NOT NULL,
        PRIMARY KEY (application, partition, position)
    )
    """,
)

# An event without a reason of its own is behind another one. If that has been applied or dropped
# meanwhile, there is nothing to be behind of.
INSERT_PARKED = """
    INSERT INTO parked (
           application, partition, topic, record_offset, position, originator_id,
           originator_version, type, key, value, headers, reason, traceback, parked_at)
    SELECT :application, :partition, :topic, :record_offset, :position, :originator_id,
           :originator_version, :type, :key, :value, :headers, :reason, :traceback, :parked_at
     WHERE :first
        OR EXISTS (SELECT 1
                     FROM parked
                    WHERE application = :application AND originator_id = :originator_id
                      AND position IS NOT NULL)
        ON CONFLICT DO NOTHING
"""

SELECT_IS_PARKED = """
    SELECT EXISTS (SELECT 1
                     FROM parked
                    WHERE application = :application AND partition = :partition
                      AND (position = :position
                           OR (:position IS NULL AND position IS NULL
                               AND topic = :topic AND record_offset = :record_offset)))
"""

SELECT_KNOWN = """
    SELECT EXISTS (SELECT 1
                     FROM parked
                    WHERE application = :application AND originator_id = :originator_id
                      AND position IS NOT NULL AND :position IS NOT NULL),
           EXISTS (SELECT 1
                     FROM dropped
                    WHERE application = :application AND partition = :partition
                      AND (:position BETWEEN coalesce(first_position, position)
                                         AND coalesce(last_position, position)
                           OR (:position IS NULL AND position IS NULL AND last_position IS NULL
                               AND topic = :topic AND first_offset = :offset)))
"""

SELECT_PARKED = "SELECT * FROM parked WHERE application = ? ORDER BY id"

DELETE_PARKED = "DELETE FROM parked WHERE id = ?"

INSERT_DROPPED = """
    INSERT INTO dropped (
           application, partition, topic, first_offset, last_offset, position, skipped_after,
           skipped_to, first_position, last_position, type, originator_id, failure, dropped_by,
           reason, dropped_at)
    VALUES (:application, :partition, :topic, :first_offset, :last_offset, :position,
            :skipped_after, :skipped_to, :first_position, :last_position, :type, :originator_id,
            :failure, :dropped_by, :reason, :dropped_at)
"""

SELECT_DROPPED = """
    SELECT partition, topic, first_offset, last_offset, position, skipped_after, skipped_to,
           first_position, last_position, type, originator_id, failure, dropped_by, reason,
           dropped_at
      FROM dropped
     WHERE application = ?
     ORDER BY dropped_at, partition
"""

NOTE_PROGRESS = """
    INSERT INTO followed (
           application, partition, position, next_offset, identity, record_offset, records, stopped)
    VALUES (:application, :partition, :position, :offset, :identity, :record_offset, :records,
            :stopped)
        ON CONFLICT (application, partition) DO UPDATE
       SET position = :position, next_offset = :offset, identity = :identity,
           record_offset = :record_offset, records = followed.records + :records,
           stopped = :stopped
"""

# One row for every partition, so that their number is known.
INSERT_PARTITION = "INSERT OR IGNORE INTO followed (application, partition) VALUES (?, ?)"

COUNT_PARTITIONS = "SELECT count(*) FROM followed WHERE application = ?"

SELECT_NOTED = """
    SELECT partition, position, next_offset, identity, record_offset
      FROM followed
     WHERE application = :application AND partition = :partition
"""

NOTE_BEGUN = """
    INSERT OR REPLACE INTO begun (application, partition, position, identity, record_offset)
    VALUES (:application, :partition, :position, :identity, :record_offset)
"""

SELECT_BEGUN = """
    SELECT partition, position, record_offset + 1, identity, record_offset
      FROM begun
     WHERE application = :application AND partition = :partition AND position = :position
"""

DELETE_BEGUN = "DELETE FROM begun WHERE application = :application AND partition = :partition"

SELECT_PROGRESS = """
    SELECT partition, position, next_offset, identity, record_offset, records,
           (SELECT count(*)
              FROM parked
             WHERE parked.application = followed.application
               AND parked.partition = followed.partition),
           (SELECT coalesce(sum(last_offset - first_offset + 1), 0)
              FROM dropped
             WHERE dropped.application = followed.application
               AND dropped.partition = followed.partition),
           stopped
      FROM followed
     WHERE application = ?
     ORDER BY partition
"""


class NoLongerBehindError(IntegrityError):
    """What an event was behind of has been applied or dropped meanwhile: it is to be tried again.

    To the applier it is a conflict with what somebody else has recorded, as others are.
    """


class LocalParking(ABC):
    """What is kept beside one follower of one leader.

    An event is parked in the transaction that records the library's tracking past it.
    """

    def __init__(self, host: LocalHost) -> None:
        self._host = host
        self._leader = host.leader

    async def park(
        self, _connection: Any, record: ConsumedRecord, reason: Exception | None
    ) -> bool:
        """Set a record aside, and record the tracking past it, together.

        Without a reason it is behind another one of its aggregate: raises `NoLongerBehindError`,
        and nothing has changed, if it is not any more. False if the event was recorded before its
        policy failed: tried again, it would be recorded twice.
        """
        tracking = None if record.error else self._host.tracking_past(record.place)
        if reason and not record.error and not tracking:
            logger.error(
                "position %d was recorded, and failed after that: %s",
                record.place.position,
                type(reason).__name__,
            )
            return False
        self._park(parked_row(self._leader, record, reason), tracking, is_behind=reason is None)
        return True

    async def set_aside(
        self, _connection: Any, records: Sequence[ConsumedRecord]
    ) -> Answer[SetAside]:
        """Return what of some records is to be treated otherwise than applied."""
        return partial(already, self._set_aside(records))

    def _set_aside(self, records: Sequence[ConsumedRecord]) -> SetAside:
        parked: set[str] = set()
        dropped: list[tuple[int, range, str | None]] = []
        for record in records:
            is_parked, is_dropped = self._known(record)
            if is_parked:
                parked.add(record.originator_id)
            if is_dropped:
                at = record.envelope.position if record.envelope else record.offset
                topic = None if record.envelope else record.topic
                dropped.append((record.partition, range(at, at + 1), topic))
        return SetAside(parked, dropped)

    async def select(
        self,
        _connection: Any,
        *,
        originator_id: str | None = None,
        event_id: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Parked]:
        """Return parked events in their order: of one aggregate, a single one, or all."""
        found = [event for event in self._all() if originator_id in (None, event.originator_id)]
        return [event for event in found if event_id in (None, event.id)][:limit]

    async def record_drop(self, _connection: Any, parked: Parked, *, by: str, reason: str) -> None:
        """Record for ever that an event is not applied."""
        self._drop(dropped_row(parked, by=by, reason=reason))

    def record_skip(self, skip: Skip) -> None:
        """Record for ever, and once, that an operator had it pass over some positions."""
        if not permits(self._dropped(), skip.seen, skip.to):
            self._drop(skip.row)

    async def dropped(self, _connection: Any) -> Sequence[Dropped]:
        """Return what was given up, the oldest first."""
        return self._dropped()

    @abstractmethod
    async def remove(self, connection: Any, parked: Sequence[Parked]) -> None:
        """Take events out: they are applied, or dropped."""

    @abstractmethod
    def expect(self, partitions: int) -> int:
        """Take note of how many partitions there are, unless it is known; return what is."""

    @abstractmethod
    def count(self) -> int:
        """Return how many partitions there are; 0 before a consumer has seen the topic."""

    @abstractmethod
    def begin(self, moves: Iterable[Move]) -> None:
        """Take note of what is about to be applied."""

    @abstractmethod
    def note(self, moves: Collection[Move]) -> None:
        """Take note of what is applied, and of why partitions have stopped."""

    @abstractmethod
    def noted(self, partition: int) -> Tracking:
        """Return up to which record a partition is applied, as was noted after a batch."""

    @abstractmethod
    def begun(self, partition: int, position: int) -> Tracking | None:
        """Return which record it is, if it is one of what was about to be applied."""

    @abstractmethod
    def progress(self) -> Sequence[TrackingProgress]:
        """Return how far each partition is."""

    @abstractmethod
    def _known(self, record: ConsumedRecord) -> tuple[bool, bool]:
        """Tell whether anything of a record's aggregate is parked, and whether it was dropped."""

    @abstractmethod
    def _park(
        self, row: dict[str, Any], tracking: LibraryTracking | None, *, is_behind: bool
    ) -> None:
        """Keep an event, and the tracking past it. Raises `NoLongerBehindError`."""

    @abstractmethod
    def _drop(self, row: dict[str, Any]) -> None:
        """Keep what was given up."""

    @abstractmethod
    def _all(self) -> Sequence[Parked]:
        """Return what is parked, in order."""

    @abstractmethod
    def _dropped(self) -> Sequence[Dropped]:
        """Return what was given up, the oldest first."""


def _steps(move: Move) -> Iterator[Tracking]:
    """Yield up to which record a partition is applied after each of the news."""
    for record in move.news:
        if envelope := record.envelope:
            yield Tracking(
                record.partition,
                envelope.position,
                record.offset + 1,
                envelope.identity,
                record.offset,
            )


def _is_of(row: Dropped, record: ConsumedRecord) -> bool:
    """Tell whether a record was given up."""
    first = row.position if row.first_position is None else row.first_position
    last = row.position if row.last_position is None else row.last_position
    if row.partition != record.partition:
        return False
    if record.envelope is None:
        return last is None and (row.topic, row.first_offset) == (record.topic, record.offset)
    return first is not None and last is not None and first <= record.envelope.position <= last


def _place(
    partition: int, position: int | None, topic: str, record_offset: int, **_: Any
) -> tuple[int, int | None, str | None, int | None]:
    """Return by what a parked event is known: its position, or where it is if it is foreign."""
    if position is None:
        return partition, None, topic, record_offset
    return partition, position, None, None


class MemoryParking(LocalParking):
    """Beside a POPO recorder: in memory, as everything there."""

    def __init__(self, host: LocalHost) -> None:
        super().__init__(host)
        self._parked: list[Parked] = []
        self._given_up: list[Dropped] = []
        self._numbers = count(1)
        self._noted: dict[int, TrackingProgress] = {}
        self._begun: dict[int, Mapping[int, Tracking]] = {}

    async def remove(self, _connection: Any, parked: Sequence[Parked]) -> None:
        """Take events out: they are applied, or dropped."""
        ids = {event.id for event in parked}
        self._parked = [event for event in self._parked if event.id not in ids]

    def expect(self, partitions: int) -> int:
        """Take note of how many partitions there are, unless it is known; return what is."""
        if not self._noted:
            self._noted = {
                number: TrackingProgress(Tracking(number, 0, 0), 0) for number in range(partitions)
            }
        return self.count()

    def count(self) -> int:
        """Return how many partitions there are."""
        return len(self._noted)

    def begin(self, moves: Iterable[Move]) -> None:
        """Take note of what is about to be applied."""
        for move in moves:
            self._begun[move.seen.partition] = {at.position: at for at in _steps(move)}

    def note(self, moves: Collection[Move]) -> None:
        """Take note of what is applied: only those in this process can ask."""
        for move in moves:
            number = move.to.partition
            before = self._noted[number].records if number in self._noted else 0
            self._noted[number] = TrackingProgress(
                move.to, before + move.records, stopped=move.stopped
            )
            self._begun.pop(number, None)

    def noted(self, partition: int) -> Tracking:
        """Return up to which record a partition is applied, as was noted after a batch."""
        found = self._noted.get(partition)
        return found.tracking if found else Tracking(partition, 0, 0)

    def begun(self, partition: int, position: int) -> Tracking | None:
        """Return which record it is, if it is one of what was about to be applied."""
        return self._begun.get(partition, {}).get(position)

    def progress(self) -> Sequence[TrackingProgress]:
        """Return how far each partition is."""
        parked = Counter(event.partition for event in self._parked)
        dropped: Counter[int] = Counter()
        for row in self._given_up:
            dropped[row.partition] += row.last_offset - row.first_offset + 1
        return [
            noted._replace(parked=parked[number], dropped=dropped[number])
            for number, noted in sorted(self._noted.items())
        ]

    def _known(self, record: ConsumedRecord) -> tuple[bool, bool]:
        return (
            record.envelope is not None and record.originator_id in self._waited_for(),
            any(_is_of(row, record) for row in self._given_up),
        )

    def _park(
        self, row: dict[str, Any], tracking: LibraryTracking | None, *, is_behind: bool
    ) -> None:
        if is_behind and row["originator_id"] not in self._waited_for():
            raise NoLongerBehindError
        if tracking:
            self._host.recorder.insert_tracking(tracking)
        if _place(**row) not in {_place(**asdict(event)) for event in self._parked}:
            self._parked.append(Parked(id=next(self._numbers), **row, parked_at=datetime.now(UTC)))

    def _waited_for(self) -> set[str]:
        """Return the aggregates that have parked events. What is foreign is of none."""
        return {event.originator_id for event in self._parked if event.position is not None}

    def _drop(self, row: dict[str, Any]) -> None:
        self._given_up.append(Dropped(**row, dropped_at=datetime.now(UTC)))

    def _all(self) -> Sequence[Parked]:
        return list(self._parked)

    def _dropped(self) -> Sequence[Dropped]:
        return list(self._given_up)


class SQLiteParking(LocalParking):
    """Beside a SQLite recorder: in its database."""

    def __init__(self, host: LocalHost, database: SQLiteDatabase) -> None:
        super().__init__(host)
        self._database = database
        with database.transaction(commit=True) as cursor:
            for statement in CREATE_TABLES:
                cursor.execute(statement)

    async def remove(self, _connection: Any, parked: Sequence[Parked]) -> None:
        """Take events out: they are applied, or dropped."""
        with self._database.transaction(commit=True) as cursor:
            cursor.executemany(DELETE_PARKED, [(event.id,) for event in parked])

    def expect(self, partitions: int) -> int:
        """Take note of how many partitions there are, unless it is known; return what is."""
        if not self.count():
            rows = [(self._leader, number) for number in range(partitions)]
            with self._database.transaction(commit=True) as cursor:
                cursor.executemany(INSERT_PARTITION, rows)
        return self.count()

    def count(self) -> int:
        """Return how many partitions there are; 0 before a consumer has seen the topic."""
        ((count,),) = map(tuple, self._rows(COUNT_PARTITIONS))
        return int(count)

    def begin(self, moves: Iterable[Move]) -> None:
        """Take note of what is about to be applied."""
        rows = [
            {"application": self._leader, **at._asdict()} for move in moves for at in _steps(move)
        ]
        if rows:
            with self._database.transaction(commit=True) as cursor:
                cursor.executemany(NOTE_BEGUN, rows)

    def note(self, moves: Collection[Move]) -> None:
        """Take note of what is applied, and of why partitions have stopped."""
        rows = [
            {
                "application": self._leader,
                **move.to._asdict(),
                "records": move.records,
                "stopped": move.stopped,
            }
            for move in moves
        ]
        with self._database.transaction(commit=True) as cursor:
            cursor.executemany(NOTE_PROGRESS, rows)
            cursor.executemany(DELETE_BEGUN, rows)

    def noted(self, partition: int) -> Tracking:
        """Return up to which record a partition is applied, as was noted after a batch."""
        return self._tracking(SELECT_NOTED, partition) or Tracking(partition, 0, 0)

    def begun(self, partition: int, position: int) -> Tracking | None:
        """Return which record it is, if it is one of what was about to be applied."""
        return self._tracking(SELECT_BEGUN, partition, position)

    def _tracking(
        self, statement: str, partition: int, position: int | None = None
    ) -> Tracking | None:
        which = {"application": self._leader, "partition": partition, "position": position}
        with self._database.transaction(commit=False) as cursor:
            cursor.execute(statement, which)
            row = cursor.fetchone()
        return Tracking(*row) if row else None

    def progress(self) -> Sequence[TrackingProgress]:
        """Return how far each partition is."""
        rows = map(tuple, self._rows(SELECT_PROGRESS))
        return [TrackingProgress(Tracking(*row[:5]), *row[5:]) for row in rows]

    def _known(self, record: ConsumedRecord) -> tuple[bool, bool]:
        parameters = {
            "application": self._leader,
            "originator_id": record.originator_id,
            "partition": record.partition,
            "topic": record.topic,
            "offset": record.offset,
            "position": record.envelope.position if record.envelope else None,
        }
        with self._database.transaction(commit=False) as cursor:
            cursor.execute(SELECT_KNOWN, parameters)
            is_parked, is_dropped = cursor.fetchone()
        return bool(is_parked), bool(is_dropped)

    def _park(
        self, row: dict[str, Any], tracking: LibraryTracking | None, *, is_behind: bool
    ) -> None:
        row |= {"parked_at": datetime.now(UTC).isoformat(), "first": not is_behind}
        with self._database.transaction(commit=True) as cursor:
            cursor.execute(INSERT_PARKED, row)
            cursor.execute(SELECT_IS_PARKED, row)
            if not cursor.fetchone()[0]:
                raise NoLongerBehindError
            if tracking:
                self._database.insert_tracking(cursor, tracking)

    def _drop(self, row: dict[str, Any]) -> None:
        row |= {"application": self._leader, "dropped_at": datetime.now(UTC).isoformat()}
        with self._database.transaction(commit=True) as cursor:
            cursor.execute(INSERT_DROPPED, row)

    def _all(self) -> Sequence[Parked]:
        rows = map(dict, self._rows(SELECT_PARKED))
        return [
            Parked(**{**row, "parked_at": datetime.fromisoformat(row["parked_at"])}) for row in rows
        ]

    def _dropped(self) -> Sequence[Dropped]:
        rows = map(dict, self._rows(SELECT_DROPPED))
        return [
            Dropped(**{**row, "dropped_at": datetime.fromisoformat(row["dropped_at"])})
            for row in rows
        ]

    def _rows(self, statement: str) -> Sequence[Any]:
        with self._database.transaction(commit=False) as cursor:
            cursor.execute(statement, (self._leader,))
            rows: Sequence[Any] = cursor.fetchall()
            return rows
