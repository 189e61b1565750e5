"""What is kept beside a follower's recorder that is not in Postgres.

That is its parked and its dropped events, as a view in Postgres keeps them, and how far each
partition is in the topic: the library's own tracking knows positions, and no offsets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from eventsourcing.persistence import Tracking as LibraryTracking
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.sqlite import SQLiteTrackingRecorder

from eventsourcing_kafka.consumer.engine.batch import Located
from eventsourcing_kafka.consumer.engine.parking import (
    Dropped,
    Parked,
    SetAside,
    dropped_row,
    parked_row,
)
from eventsourcing_kafka.consumer.engine.tracking import Progress, Tracking
from eventsourcing_kafka.producer.runtime.compat import insert_tracking

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
           (SELECT count(*)
              FROM dropped
             WHERE dropped.application = followed.application
               AND dropped.partition = followed.partition),
           stopped
      FROM followed
     WHERE application = ?
     ORDER BY partition
"""


class LocalParking(ABC):
    """What is kept beside one follower of one leader."""

    @abstractmethod
    def known(self, located: Located) -> SetAside:
        """Return what is set aside of a record's aggregate, and at its place."""

    @abstractmethod
    def park(
        self, located: Located, reason: Exception | None, tracking: LibraryTracking | None
    ) -> bool:
        """Set an event aside, and record the tracking past it, together.

        Without a reason it is behind another one of its aggregate. False if that other one has
        been applied or dropped meanwhile: nothing has changed then.
        """

    @abstractmethod
    def all(self) -> Sequence[Parked]:
        """Return what is parked, in order."""

    @abstractmethod
    def note(self, tracking: Tracking, records: int, stopped: str | None) -> None:
        """Take note of how far a partition is, for those who ask for the status."""

    @abstractmethod
    def progress(self) -> Sequence[Progress]:
        """Return how far each partition is."""


class MemoryParking(LocalParking):
    """Beside a POPO recorder: in memory, as everything there."""

    def __init__(self, recorder: POPOTrackingRecorder, leader: str) -> None:
        self._recorder = recorder
        self._leader = leader
        self._parked: list[Parked] = []
        self._noted: dict[int, Progress] = {}

    def known(self, located: Located) -> SetAside:
        """Return what is set aside of a record's aggregate; nothing is dropped here."""
        originators = {event.originator_id for event in self._parked}
        return SetAside(originators & {located.item.originator_id}, [])

    def park(
        self, located: Located, reason: Exception | None, tracking: LibraryTracking | None
    ) -> bool:
        """Set an event aside, and record the tracking past it."""
        if tracking:
            self._recorder.insert_tracking(tracking)
        row = parked_row(self._leader, located.partition, located.item, reason)
        number = len(self._parked) + 1
        self._parked.append(Parked(id=number, **row, parked_at=datetime.now(UTC)))
        return True

    def all(self) -> Sequence[Parked]:
        """Return what is parked, in order."""
        return list(self._parked)

    def note(self, tracking: Tracking, records: int, stopped: str | None) -> None:
        """Take note of how far a partition is: only those in this process can ask."""
        self._noted[tracking.partition] = Progress(tracking, records, stopped=stopped)

    def progress(self) -> Sequence[Progress]:
        """Return how far each partition is."""
        parked = Counter(event.partition for event in self._parked)
        return [
            noted._replace(parked=parked[number]) for number, noted in sorted(self._noted.items())
        ]


class SQLiteParking(LocalParking):
    """Beside a SQLite recorder: in its database.

    The methods with a connection have those of `Parking`. They are for a person's mending, and
    whatever is done with the database meanwhile is in one transaction already.
    """

    def __init__(self, recorder: SQLiteTrackingRecorder, leader: str) -> None:
        self._recorder = recorder
        self._leader = leader
        with recorder.datastore.transaction(commit=True) as cursor:
            for statement in CREATE_TABLES:
                cursor.execute(statement)

    def known(self, located: Located) -> SetAside:
        """Return what is set aside of a record's aggregate, and at its place."""
        (partition, item), offset = located, located.item.record.offset
        of = {"originator_id": item.originator_id, "partition": partition, "offset": offset}
        with self._recorder.datastore.transaction(commit=False) as cursor:
            cursor.execute(SELECT_KNOWN, {"application": self._leader, **of})
            is_parked, is_dropped = cursor.fetchone()
        return SetAside(
            {item.originator_id} if is_parked else set(),
            [(partition, range(offset, offset + 1))] if is_dropped else [],
        )

    def park(
        self, located: Located, reason: Exception | None, tracking: LibraryTracking | None
    ) -> bool:
        """Set an event aside, and record the tracking past it, in one transaction."""
        row = parked_row(self._leader, located.partition, located.item, reason)
        row |= {"parked_at": datetime.now(UTC).isoformat(), "first": reason is not None}
        with self._recorder.datastore.transaction(commit=True) as cursor:
            cursor.execute(INSERT_PARKED, row)
            cursor.execute(SELECT_IS_PARKED, row)
            is_parked = bool(cursor.fetchone()[0])
            if is_parked and tracking:
                insert_tracking(self._recorder, cursor, tracking)
        return is_parked

    def all(self) -> Sequence[Parked]:
        """Return what is parked, in order."""
        rows = map(dict, self._rows(SELECT_PARKED))
        return [
            Parked(**{**row, "parked_at": datetime.fromisoformat(row["parked_at"])}) for row in rows
        ]

    def note(self, tracking: Tracking, records: int, stopped: str | None) -> None:
        """Take note of how far a partition is, for those who ask for the status."""
        noted = {**tracking._asdict(), "records": records, "stopped": stopped}
        with self._recorder.datastore.transaction(commit=True) as cursor:
            cursor.execute(NOTE_PROGRESS, {"application": self._leader, **noted})

    def progress(self) -> Sequence[Progress]:
        """Return how far each partition is."""
        rows = map(tuple, self._rows(SELECT_PROGRESS))
        return [Progress(Tracking(*row[:3]), *row[3:]) for row in rows]

    async def set_aside(self, _connection: Any, records: Sequence[Located]) -> SetAside:
        """Return what of some records is to be treated otherwise than applied."""
        known = [self.known(located) for located in records]
        return SetAside(
            {originator for each in known for originator in each.parked},
            [dropped for each in known for dropped in each.dropped],
        )

    async def select(
        self,
        _connection: Any,
        *,
        originator_id: str | None = None,
        event_id: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Parked]:
        """Return parked events in their order: of one aggregate, a single one, or all."""
        found = [event for event in self.all() if originator_id in (None, event.originator_id)]
        return [event for event in found if event_id in (None, event.id)][:limit]

    async def dropped(self, _connection: Any) -> Sequence[Dropped]:
        """Return what was given up, the oldest first."""
        rows = map(dict, self._rows(SELECT_DROPPED))
        return [
            Dropped(**{**row, "dropped_at": datetime.fromisoformat(row["dropped_at"])})
            for row in rows
        ]

    async def remove(self, _connection: Any, parked: Sequence[Parked]) -> None:
        """Take events out: they are applied, or dropped."""
        with self._recorder.datastore.transaction(commit=True) as cursor:
            cursor.executemany(DELETE_PARKED, [(event.id,) for event in parked])

    async def record_drop(self, _connection: Any, parked: Parked, *, by: str, reason: str) -> None:
        """Record for ever that an event is not applied."""
        row = dropped_row(parked, by=by, reason=reason)
        row |= {"application": self._leader, "dropped_at": datetime.now(UTC).isoformat()}
        with self._recorder.datastore.transaction(commit=True) as cursor:
            cursor.execute(INSERT_DROPPED, row)

    def _rows(self, statement: str) -> Sequence[Any]:
        with self._recorder.datastore.transaction(commit=False) as cursor:
            cursor.execute(statement, (self._leader,))
            rows: Sequence[Any] = cursor.fetchall()
            return rows
