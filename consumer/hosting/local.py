"""Hosts a follower whose recorder is not in Postgres: POPO, or SQLite.

Each event is recorded by the library together with its own tracking, one name for each partition:
`DogSchool:3`. That is the guard here: the library refuses a position that it has already. An event
that can't be applied is parked in the transaction that records the tracking past it.
"""

from __future__ import annotations

import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any, NamedTuple

from anyio import to_thread
from eventsourcing.persistence import IntegrityError
from eventsourcing.persistence import Tracking as LibraryTracking
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.projection import EventSourcedProjection
from eventsourcing.sqlite import SQLiteTrackingRecorder

from consumer.applying import ATTEMPTS, Applied, CannotApplyError, Moved, OnError
from consumer.hosting.collecting import PolicyError
from consumer.hosting.follower import Follower
from consumer.parking import BEHIND
from consumer.subscription import Located, Span
from consumer.tracking import Tracking
from consumer.view import View
from producer.wire.endurance import is_transient


class ParkedLocally(NamedTuple):
    """A parked event."""

    partition: int
    offset: int
    position: int
    originator_id: str
    type: str
    reason: str
    traceback: str


class Saving:
    """Refuses what a policy saves by itself; commands of the same application may save."""

    def __init__(self, application: Any) -> None:
        self._save = application.save
        self._policy = threading.local()
        application.save = self._checked

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Have it refused in this thread."""
        self._policy.runs = True
        try:
            yield
        finally:
            self._policy.runs = False

    def _checked(self, *args: Any, **kwargs: Any) -> Any:
        if getattr(self._policy, "runs", False):
            raise PolicyError
        return self._save(*args, **kwargs)


class LocalParking(ABC):
    """The parked events of one follower."""

    @abstractmethod
    def park(self, parked: ParkedLocally, tracking: LibraryTracking | None) -> None:
        """Set an event aside, and record the tracking past it, together."""

    @abstractmethod
    def all(self) -> Sequence[ParkedLocally]:
        """Return what is parked, in order."""


class MemoryParking(LocalParking):
    """Beside a POPO recorder: in memory, as everything there."""

    def __init__(self, recorder: POPOTrackingRecorder) -> None:
        self._recorder = recorder
        self._parked: list[ParkedLocally] = []

    def park(self, parked: ParkedLocally, tracking: LibraryTracking | None) -> None:
        """Set an event aside, and record the tracking past it."""
        if tracking:
            self._recorder.insert_tracking(tracking)
        self._parked.append(parked)

    def all(self) -> Sequence[ParkedLocally]:
        """Return what is parked, in order."""
        return list(self._parked)


class SQLiteParking(LocalParking):
    """Beside a SQLite recorder: in its database."""

    def __init__(self, recorder: SQLiteTrackingRecorder, leader: str) -> None:
        self._recorder = recorder
        self._leader = leader
        with recorder.datastore.transaction(commit=True) as cursor:
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS parked (leader TEXT, partition INTEGER, "
                "record_offset INTEGER, position INTEGER, originator_id TEXT, type TEXT, "
                "reason TEXT, traceback TEXT, PRIMARY KEY (leader, partition, record_offset))"
            )

    def park(self, parked: ParkedLocally, tracking: LibraryTracking | None) -> None:
        """Set an event aside, and record the tracking past it, in one transaction."""
        with self._recorder.datastore.transaction(commit=True) as cursor:
            cursor.execute(
                "INSERT OR IGNORE INTO parked VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (self._leader, *parked),
            )
            if tracking:
                self._recorder._insert_tracking(cursor, tracking)  # noqa: SLF001 - as its subclasses

    def all(self) -> Sequence[ParkedLocally]:
        """Return what is parked, in order."""
        with self._recorder.datastore.transaction(commit=False) as cursor:
            cursor.execute(
                "SELECT partition, record_offset, position, originator_id, type, reason, traceback "
                "FROM parked WHERE leader = ? ORDER BY rowid",
                (self._leader,),
            )
            return [ParkedLocally(*tuple(row)) for row in cursor.fetchall()]


class LocalStore:
    """Where a follower has come to, as its own recorder tells."""

    def __init__(self, view: View, follower: Follower, recorder: Any, leader: str) -> None:
        self.view = view
        self.schema = view.name
        self.leader = leader
        self.follower = follower
        self.recorder = recorder
        self.parking: LocalParking = (
            SQLiteParking(recorder, leader)
            if isinstance(recorder, SQLiteTrackingRecorder)
            else MemoryParking(recorder)
        )
        self.tracking = self
        self._trackings: dict[int, Tracking] = {}

    @asynccontextmanager
    async def connected(self, _settings: Mapping[str, str] | None = None) -> AsyncIterator[None]:
        """Connect to nothing: the recorder has its own connections."""
        yield None

    working = connected

    async def prepare(self, _connection: None, _partitions: int, *, indexed: bool = True) -> None:
        """Prepare nothing: the library has made its tables."""

    async def read(self, _connection: None, partitions: Collection[int]) -> Mapping[int, Tracking]:
        """Return the tracking of each of some partitions."""
        return await to_thread.run_sync(lambda: {number: self.at(number) for number in partitions})

    def at(self, partition: int) -> Tracking:
        """Return the tracking of a partition.

        The library knows no offsets: a new consumer reads from the first one, and what it has
        applied before is already seen. Its positions are those of events that the follower wants.
        """
        position = self.recorder.max_tracking_id(self.name_of(partition)) or 0
        known = self._trackings.get(partition)
        if known is None or position > known.position:
            known = self._trackings[partition] = Tracking(partition, position, 0)
        return known

    def advance(self, tracking: Tracking) -> None:
        """Take note of what is applied, or not wanted."""
        self._trackings[tracking.partition] = tracking

    def name_of(self, partition: int) -> str:
        """Return the name under which the library tracks a partition."""
        return f"{self.leader}:{partition}"


class LocalApplying:
    """Applies batches, event by event."""

    def __init__(self, store: LocalStore, on_error: OnError = OnError.PARK) -> None:
        self._store = store
        self._on_error = on_error
        follower = store.follower
        self._saving = Saving(follower) if isinstance(follower, EventSourcedProjection) else None
        self._parked = {parked.originator_id for parked in store.parking.all()}

    async def apply(
        self, _connection: None, batch: Sequence[Span], _seen: Mapping[int, Tracking]
    ) -> Applied | Moved:
        """Apply a batch; what another owner has applied meanwhile is already seen."""
        return await to_thread.run_sync(self._apply, batch)

    def _apply(self, batch: Sequence[Span]) -> Applied:
        trackings: list[Tracking] = []
        stopped: dict[int, str] = {}
        outcomes: list[str] = []
        for span in batch:
            end = span
            for item in span.items:
                try:
                    outcomes.append(self._outcome(Located(span.partition, item)))
                except CannotApplyError as error:
                    if self._on_error is OnError.RAISE:
                        raise
                    stopped[span.partition] = str(error)
                    end = span.before(item.record.offset)
                    break
            tracking = end.moved(self._store.at(span.partition))
            self._store.advance(tracking)
            trackings.append(tracking)
        return Applied(
            trackings,
            outcomes.count("applied"),
            outcomes.count("already seen"),
            outcomes.count("parked"),
            stopped,
        )

    def _outcome(self, located: Located) -> str:
        """Apply one event, and say what came of it."""
        item = located.item
        if not item.event and not item.error:
            return "not wanted"
        if not item.error and located.place.position <= self._store.at(located.partition).position:
            return "already seen"
        if item.originator_id in self._parked:
            self._park(located, None)
            return "parked"
        try:
            return self._process(located)
        except Exception as reason:
            if is_transient(reason):
                raise
            if self._on_error is not OnError.PARK:
                raise CannotApplyError(located.partition, item, reason) from reason
            self._park(located, reason)
            return "parked"

    def _process(self, located: Located) -> str:
        if located.item.error:
            raise located.item.error
        event: Any = located.item.event
        name, position = self._store.name_of(located.partition), located.place.position
        for attempt in range(ATTEMPTS):
            try:
                with self._saving.refused() if self._saving else nullcontext():
                    self._store.follower.process_event(event, LibraryTracking(name, position))
            except IntegrityError:
                if (self._store.recorder.max_tracking_id(name) or 0) >= position:
                    return "already seen"
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return "applied"
        raise AssertionError

    def _park(self, located: Located, reason: Exception | None) -> None:
        item, place = located.item, located.place
        known = self._store.recorder.max_tracking_id(self._store.name_of(place.partition)) or 0
        tracking = (
            LibraryTracking(self._store.name_of(place.partition), place.position)
            if place.position > known and not item.error
            else None
        )
        parked = ParkedLocally(
            place.partition,
            item.record.offset,
            place.position,
            item.originator_id,
            item.envelope.type if item.envelope else "",
            str(reason) if reason else BEHIND,
            "".join(traceback.format_exception(reason)) if reason else "",
        )
        self._store.parking.park(parked, tracking)
        self._parked.add(item.originator_id)
