"""What is kept beside a follower's recorder that is not in Postgres.

That is its parked and its dropped events, as a view in Postgres keeps them, and how far each
partition is in the topic: the library's own tracking knows positions, and no offsets.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from eventsourcing.persistence import IntegrityError
from eventsourcing.persistence import Tracking as LibraryTracking
from eventsourcing.sqlite import SQLiteTrackingRecorder

from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord
from eventsourcing_kafka.consumer.engine.parking import (
    Dropped,
    Parked,
    SetAside,
    dropped_row,
    parked_row,
    skipped_row,
)
from eventsourcing_kafka.consumer.engine.tracking import Tracking, TrackingProgress
from eventsourcing_kafka.consumer.hosting.local.host import LocalHost
from eventsourcing_kafka.producer.runtime.compat import insert_tracking

logger = logging.getLogger(__name__)

CREATE_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS parked (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        application TEXT NOT NULL,
        partition INTEGER NOT NULL,
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
        UNIQUE (application, partition, record_offset)
    )
    """,
    "CREATE INDEX IF NOT EXISTS parked_originator ON parked (originator_id)",
    """
    CREATE TABLE IF NOT EXISTS dropped (
        application TEXT NOT NULL,
        partition INTEGER NOT NULL,
        first_offset INTEGER NOT NULL,
        last_offset INTEGER NOT NULL,
        position INTEGER,
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
        position INTEGER NOT NULL,
        next_offset INTEGER NOT NULL,
        records INTEGER NOT NULL,
        stopped TEXT,
        PRIMARY KEY (application, partition)
    )
    """,
)

# An event without a reason of its own is behind another one. If that has been applied or dropped
# meanwhile, there is nothing to be behind of.
INSERT_PARKED = """
    INSERT INTO parked (
           application, partition, record_offset, position, originator_id, originator_version,
           type, key, value, headers, reason, traceback, parked_at)
    SELECT :application, :partition, :record_offset, :position, :originator_id,
           :originator_version, :type, :key, :value, :headers, :reason, :traceback, :parked_at
     WHERE :first
        OR EXISTS (SELECT 1
                     FROM parked
                    WHERE application = :application AND originator_id = :originator_id)
        ON CONFLICT (application, partition, record_offset) DO NOTHING
"""

SELECT_IS_PARKED = """
    SELECT EXISTS (SELECT 1
                     FROM parked
                    WHERE application = :application AND partition = :partition
                      AND record_offset = :record_offset)
"""

SELECT_KNOWN = """
    SELECT EXISTS (SELECT 1
                     FROM parked
                    WHERE application = :application AND originator_id = :originator_id),
           EXISTS (SELECT 1
                     FROM dropped
                    WHERE application = :application AND partition = :partition
                      AND :offset BETWEEN first_offset AND last_offset)
"""

SELECT_PARKED = "SELECT * FROM parked WHERE application = ? ORDER BY id"

DELETE_PARKED = "DELETE FROM parked WHERE id = ?"

INSERT_DROPPED = """
    INSERT INTO dropped (
           application, partition, first_offset, last_offset, position, type, originator_id,
           failure, dropped_by, reason, dropped_at)
    VALUES (:application, :partition, :first_offset, :last_offset, :position, :type,
            :originator_id, :failure, :dropped_by, :reason, :dropped_at)
"""

SELECT_DROPPED = """
    SELECT partition, first_offset, last_offset, position, type, originator_id, failure,
           dropped_by, reason, dropped_at
      FROM dropped
     WHERE application = ?
     ORDER BY dropped_at, partition
"""

NOTE_PROGRESS = """
    INSERT INTO followed (application, partition, position, next_offset, records, stopped)
    VALUES (:application, :partition, :position, :offset, :records, :stopped)
        ON CONFLICT (application, partition) DO UPDATE
       SET position = :position, next_offset = :offset, records = :records, stopped = :stopped
"""

SELECT_PROGRESS = """
    SELECT partition, position, next_offset, records,
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

    async def set_aside(self, _connection: Any, records: Sequence[ConsumedRecord]) -> SetAside:
        """Return what of some records is to be treated otherwise than applied."""
        parked: set[str] = set()
        dropped: list[tuple[int, range]] = []
        for record in records:
            is_parked, is_dropped = self._known(record)
            if is_parked:
                parked.add(record.originator_id)
            if is_dropped:
                dropped.append((record.partition, range(record.offset, record.offset + 1)))
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

    def record_skip(self, partition: int, first: int, last: int) -> None:
        """Record for ever, and once, that an operator had the follower pass over these offsets."""
        known = {(row.partition, row.first_offset, row.last_offset) for row in self._dropped()}
        if first <= last and (partition, first, last) not in known:
            self._drop(skipped_row(partition, first, last))

    async def dropped(self, _connection: Any) -> Sequence[Dropped]:
        """Return what was given up, the oldest first."""
        return self._dropped()

    @abstractmethod
    async def remove(self, connection: Any, parked: Sequence[Parked]) -> None:
        """Take events out: they are applied, or dropped."""

    @abstractmethod
    def note(self, tracking: Tracking, records: int, stopped: str | None) -> None:
        """Take note of how far a partition is, for those who ask for the status."""

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


class MemoryParking(LocalParking):
    """Beside a POPO recorder: in memory, as everything there."""

    def __init__(self, host: LocalHost) -> None:
        super().__init__(host)
        self._parked: list[Parked] = []
        self._given_up: list[Dropped] = []
        self._numbers = count(1)
        self._noted: dict[int, TrackingProgress] = {}

    async def remove(self, _connection: Any, parked: Sequence[Parked]) -> None:
        """Take events out: they are applied, or dropped."""
        ids = {event.id for event in parked}
        self._parked = [event for event in self._parked if event.id not in ids]

    def note(self, tracking: Tracking, records: int, stopped: str | None) -> None:
        """Take note of how far a partition is: only those in this process can ask."""
        self._noted[tracking.partition] = TrackingProgress(tracking, records, stopped=stopped)

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
            any(event.originator_id == record.originator_id for event in self._parked),
            any(
                row.partition == record.partition
                and row.first_offset <= record.offset <= row.last_offset
                for row in self._given_up
            ),
        )

    def _park(
        self, row: dict[str, Any], tracking: LibraryTracking | None, *, is_behind: bool
    ) -> None:
        if is_behind and row["originator_id"] not in {e.originator_id for e in self._parked}:
            raise NoLongerBehindError
        if tracking:
            self._host.recorder.insert_tracking(tracking)
        place = row["partition"], row["record_offset"]
        if place not in {(event.partition, event.record_offset) for event in self._parked}:
            self._parked.append(Parked(id=next(self._numbers), **row, parked_at=datetime.now(UTC)))

    def _drop(self, row: dict[str, Any]) -> None:
        self._given_up.append(Dropped(**row, dropped_at=datetime.now(UTC)))

    def _all(self) -> Sequence[Parked]:
        return list(self._parked)

    def _dropped(self) -> Sequence[Dropped]:
        return list(self._given_up)


class SQLiteParking(LocalParking):
    """Beside a SQLite recorder: in its database."""

    def __init__(self, host: LocalHost) -> None:
        super().__init__(host)
        self._recorder: SQLiteTrackingRecorder = host.recorder
        with self._recorder.datastore.transaction(commit=True) as cursor:
            for statement in CREATE_TABLES:
                cursor.execute(statement)

    async def remove(self, _connection: Any, parked: Sequence[Parked]) -> None:
        """Take events out: they are applied, or dropped."""
        with self._recorder.datastore.transaction(commit=True) as cursor:
            cursor.executemany(DELETE_PARKED, [(event.id,) for event in parked])

    def note(self, tracking: Tracking, records: int, stopped: str | None) -> None:
        """Take note of how far a partition is, for those who ask for the status."""
        noted = {**tracking._asdict(), "records": records, "stopped": stopped}
        with self._recorder.datastore.transaction(commit=True) as cursor:
            cursor.execute(NOTE_PROGRESS, {"application": self._leader, **noted})

    def progress(self) -> Sequence[TrackingProgress]:
        """Return how far each partition is."""
        rows = map(tuple, self._rows(SELECT_PROGRESS))
        return [TrackingProgress(Tracking(*row[:3]), *row[3:]) for row in rows]

    def _known(self, record: ConsumedRecord) -> tuple[bool, bool]:
        parameters = {
            "application": self._leader,
            "originator_id": record.originator_id,
            "partition": record.partition,
            "offset": record.offset,
        }
        with self._recorder.datastore.transaction(commit=False) as cursor:
            cursor.execute(SELECT_KNOWN, parameters)
            is_parked, is_dropped = cursor.fetchone()
        return bool(is_parked), bool(is_dropped)

    def _park(
        self, row: dict[str, Any], tracking: LibraryTracking | None, *, is_behind: bool
    ) -> None:
        row |= {"parked_at": datetime.now(UTC).isoformat(), "first": not is_behind}
        with self._recorder.datastore.transaction(commit=True) as cursor:
            cursor.execute(INSERT_PARKED, row)
            cursor.execute(SELECT_IS_PARKED, row)
            if not cursor.fetchone()[0]:
                raise NoLongerBehindError
            if tracking:
                insert_tracking(self._recorder, cursor, tracking)

    def _drop(self, row: dict[str, Any]) -> None:
        row |= {"application": self._leader, "dropped_at": datetime.now(UTC).isoformat()}
        with self._recorder.datastore.transaction(commit=True) as cursor:
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
        with self._recorder.datastore.transaction(commit=False) as cursor:
            cursor.execute(statement, (self._leader,))
            rows: Sequence[Any] = cursor.fetchall()
            return rows
