"""The library's recorders in Cassandra."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Event, Lock, Thread
from typing import Any
from uuid import UUID, uuid4

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    ListenNotifySubscription,
    Notification,
    NotSupportedError,
    PersistenceError,
    ProgrammingError,
    StoredEvent,
    Subscription,
)

from eventsourcing_kafka.producer.cassandra.datastore import CassandraDatastore
from eventsourcing_kafka.producer.cassandra.saves import BUCKET, Save, Saves, Stored

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
"""How often a subscription looks: Cassandra notifies nobody."""

CREATE = """
    CREATE TABLE IF NOT EXISTS {table} (
        originator_id text,
        originator_version bigint,
        topic text,
        state blob,
        PRIMARY KEY ((originator_id), originator_version)
    )
"""

INSERT = """
    INSERT INTO {table} (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)
"""

INSERT_NEW = f"{INSERT} IF NOT EXISTS"

SELECT = """
    SELECT originator_id, originator_version, topic, state
      FROM {table}
     WHERE originator_id = ? AND originator_version > ? AND originator_version <= ?
     ORDER BY originator_version {order}
     LIMIT ?
"""

SELECT_VERSIONS = """
    SELECT originator_version
      FROM {table}
     WHERE originator_id = ? AND originator_version >= ? AND originator_version <= ?
"""

MOST_BYTES = 4_000_000
"""Of one save. Cassandra's own limit depends on its memory."""

COPIED_BYTES = 1_000_000
"""Of one request that copies. A copy is to be possible whatever could be saved."""

BYTES_BESIDES = 100
"""Of each event, at most: its numbers, and what a request says of it."""

LOWEST, HIGHEST, UNLIMITED = -(2**63), 2**63 - 1, 2**31 - 1

ToID = Callable[[str], UUID | str]


class CassandraAggregateRecorder(AggregateRecorder):
    """Records events, or snapshots, that have no position: each aggregate has its partition."""

    def __init__(self, datastore: CassandraDatastore, table: str, to_id: ToID = UUID) -> None:
        self.datastore = datastore
        self.events_table_name = table
        self._to_id = to_id

    def create_table(self) -> None:
        """Create the table."""
        self.datastore.create(self._cql(CREATE))

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        **_: Any,
    ) -> Sequence[int] | None:
        """Insert those of one aggregate, all or none.

        Raises the library's `IntegrityError` where one is there, and `NotSupportedError` for
        several aggregates.
        """
        rows = [_stored(event) for event in stored_events]
        if rows:
            _check_unique(rows)
            if len({row[0] for row in rows}) > 1:
                raise NotSupportedError("What has no position is inserted aggregate by aggregate.")
            if not self.datastore.in_one_partition(self._cql(INSERT_NEW), rows).was_applied:
                raise _conflict(rows)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Return the events of an aggregate."""
        if limit is not None and limit < 1:
            return []
        return [
            StoredEvent(
                originator_id=self._to_id(row["originator_id"]),
                originator_version=row["originator_version"],
                topic=row["topic"],
                state=row["state"],
            )
            for row in self.datastore.rows(
                self._cql(SELECT, order="DESC" if desc else "ASC"),
                str(originator_id),
                LOWEST if gt is None else gt,
                HIGHEST if lte is None else lte,
                limit or UNLIMITED,
            )
        ]

    def _cql(self, statement: str, **names: str) -> str:
        return statement.format(table=self.events_table_name, **names)


class CassandraApplicationRecorder(CassandraAggregateRecorder, ApplicationRecorder):
    """Records events in one order, in which those of several aggregates are saved together.

    A save is decided by its row in that order, and only then copied to the partitions of its
    aggregates: whoever appends copies first what another client has not come to, and whoever reads
    an aggregate adds the newest save. So all saves but the newest are copied.
    """

    positions_are_in_commit_order = True
    """Positions are given out one after the other, each when the one before is decided."""

    def __init__(
        self, datastore: CassandraDatastore, table: str, saves: str, to_id: ToID = UUID
    ) -> None:
        super().__init__(datastore, table, to_id)
        self._saves = Saves(datastore, saves)
        self._copied = 0
        """Up to where saves are known to be copied."""
        self._appending = Lock()
        """Those of one process would only take the position from each other."""

    def create_table(self) -> None:
        """Create the tables."""
        super().create_table()
        self._saves.create()

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Record events, all or none, and return their positions.

        Raises the library's `IntegrityError` if one of the versions is taken; its
        `OperationalError` if Cassandra does not say whether they are recorded: they may be.
        """
        events = [_stored(event) for event in stored_events]
        if not events:
            return []
        _check_unique(events)
        _check_size(events)
        with self._appending:
            save = self._append(events)
            try:
                self._copy(save)
            except PersistenceError as error:  # It is decided, whatever comes of this.
                logger.warning("saved, and to be copied by whoever comes next: %s", error)
        return list(range(save.first, save.next))

    def _append(self, events: Sequence[Stored]) -> Save:
        """Put a save behind the newest one, once that is copied and conflicts with none of these.

        Where another client has put one meanwhile, look again.
        """
        own = uuid4()
        newest = self._saves.known()
        while True:
            self._copy(newest)
            self._check_versions(events)
            found = self._saves.put(newest.next, own, events)
            if found.save == own:
                return found
            newest = self._saves.newest()

    def _copy(self, save: Save) -> None:
        """Copy a save to the partitions of its aggregates, unless it is known that it is."""
        if save.last > self._copied:
            self.datastore.in_partitions(self._cql(INSERT), list(_pieces(save.events)))
            self._copied = save.last

    def _check_versions(self, events: Sequence[Stored]) -> None:
        for rows in _by_aggregate(events):
            versions = [row[1] for row in rows]
            there = self.datastore.rows(
                self._cql(SELECT_VERSIONS), rows[0][0], min(versions), max(versions)
            )
            if not {row["originator_version"] for row in there}.isdisjoint(versions):
                raise _conflict(rows)

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Return the events of an aggregate, also of a save that is not copied yet."""
        newest = self._saves.newest()  # Read first: what comes after it finds it copied.
        # A thread that appends may copy it while the partition is read.
        is_copied = newest.last <= self._copied
        copied = super().select_events(originator_id, gt=gt, lte=lte, desc=desc, limit=limit)
        if is_copied:
            return copied
        found = {event.originator_version: event for event in copied} | {
            version: StoredEvent(self._to_id(name), version, topic, state)
            for name, version, topic, state in newest.events
            if name == str(originator_id)
            and (gt is None or version > gt)
            and (lte is None or version <= lte)
        }
        return [found[version] for version in sorted(found, reverse=desc)][:limit]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Return events in the order of their positions; none is passed over."""
        first = max(1, (start or 1) if start is None or inclusive_of_start else start + 1)
        found: list[Notification] = []
        if limit < 1:
            return found
        for save in self._saves.since(first):
            for position, (name, version, topic, state) in enumerate(save.events, save.first):
                if stop is not None and position > stop:
                    return found
                if position >= first and (not topics or topic in topics):
                    found.append(Notification(self._to_id(name), version, topic, state, position))
                if len(found) == limit:
                    return found
        return found

    def max_notification_id(self) -> int | None:
        """Return the highest position there is."""
        return self._saves.newest().last or None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """Return what is recorded, for ever, by polling."""
        return CassandraSubscription(self, gt, topics)


class CassandraSubscription(ListenNotifySubscription[CassandraApplicationRecorder]):
    """Looks again and again."""

    def __init__(
        self,
        recorder: CassandraApplicationRecorder,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._stopped = Event()
        self._looking = Thread(target=self._look)
        self._looking.start()

    def stop(self) -> None:
        """Stop it."""
        self._stopped.set()
        super().stop()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        super().__exit__(*args, **kwargs)
        self._looking.join()

    def _look(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            self._has_been_notified.set()


def _check_size(events: Sequence[Stored]) -> None:
    if len(events) > BUCKET:
        raise ProgrammingError(f"{len(events):,} events are more than a save can have: {BUCKET:,}")
    if (size := sum(map(_bytes_of, events))) > MOST_BYTES:
        raise ProgrammingError(
            f"{size:,} bytes are more than a save can have: {MOST_BYTES:,}. Save less at once"
        )


def _bytes_of(event: Stored) -> int:
    name, _, topic, state = event
    return len(name.encode()) + len(topic.encode()) + len(state) + BYTES_BESIDES


def _pieces(events: Iterable[Stored]) -> Iterator[Sequence[Stored]]:
    """Yield what is copied by one request each: of one aggregate, and not too large."""
    for rows in _by_aggregate(events):
        piece: list[Stored] = []
        size = 0
        for row in rows:
            if piece and size + _bytes_of(row) > COPIED_BYTES:
                yield piece
                piece, size = [], 0
            piece.append(row)
            size += _bytes_of(row)
        yield piece


def _stored(event: StoredEvent) -> Stored:
    if event.topic is None or event.state is None:
        raise ProgrammingError(f"An event of {event.originator_id} has no topic, or no state")
    try:
        f"{event.originator_id}{event.topic}".encode()
    except UnicodeEncodeError as error:
        raise ProgrammingError(f"An event of {event.originator_id!r}: {error}") from error
    return str(event.originator_id), event.originator_version, event.topic, event.state


def _by_aggregate(events: Iterable[Stored]) -> Sequence[Sequence[Stored]]:
    parts: dict[str, list[Stored]] = {}
    for event in events:
        parts.setdefault(event[0], []).append(event)
    return list(parts.values())


def _check_unique(events: Sequence[Stored]) -> None:
    if len({event[:2] for event in events}) < len(events):
        raise _conflict(events)


def _conflict(events: Sequence[Stored]) -> IntegrityError:
    versions = ", ".join(str(event[1]) for event in events)
    return IntegrityError(f"{events[0][0]} has one of these versions already: {versions}")
