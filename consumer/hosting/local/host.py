"""Hosts a follower whose recorder is not in Postgres: POPO, or SQLite.

Each event is recorded by the library together with its own tracking, one name for each partition:
`DogSchool:3`. That is the guard here: the library refuses a position that it has already. An event
that can't be applied is parked in the transaction that records the tracking past it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

from anyio import to_thread
from eventsourcing.persistence import IntegrityError
from eventsourcing.persistence import Tracking as LibraryTracking
from eventsourcing.projection import EventSourcedProjection
from eventsourcing.sqlite import SQLiteTrackingRecorder

from eventsourcing_kafka.consumer.engine.applying import (
    ATTEMPTS,
    Applied,
    CannotApplyError,
    Moved,
    OnError,
)
from eventsourcing_kafka.consumer.engine.batch import Located, Span
from eventsourcing_kafka.consumer.engine.tracking import Progress, Tracking
from eventsourcing_kafka.consumer.hosting.follower import Follower
from eventsourcing_kafka.consumer.hosting.local.parking import (
    LocalParking,
    MemoryParking,
    SQLiteParking,
)
from eventsourcing_kafka.consumer.hosting.local.sqlite import ThreadedTransaction, pinned
from eventsourcing_kafka.consumer.hosting.postgres.collecting import PolicyError
from eventsourcing_kafka.consumer.hosting.threads import in_thread
from eventsourcing_kafka.consumer.unit_of_work import Event, Place
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.retry import is_transient
from eventsourcing_kafka.producer.wire.tracing import processing

logger = logging.getLogger(__name__)


class InMemoryError(OperatorError):
    """What a follower has is in the memory of another process."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is in the memory of the process that runs it, and nobody else can look into "
            "that, or mend it. Are PERSISTENCE_MODULE and the POSTGRES_… or SQLITE_… settings "
            "those of that process?"
        )


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


class LocalHost:
    """Runs a follower's policy: event by event, each recorded with a tracking of its own."""

    def __init__(self, follower: Follower, recorder: Any, leader: str) -> None:
        self.recorder = recorder
        self._follower = follower
        self._leader = leader
        self._saving = Saving(follower) if isinstance(follower, EventSourcedProjection) else None

    def process(self, event: Any, name: str, position: int) -> None:
        """Have the follower process an event. Raises `IntegrityError` if it has it already."""
        with self._saving.refused() if self._saving else nullcontext():
            self._follower.process_event(event, LibraryTracking(name, position))

    def name_of(self, partition: int) -> str:
        """Return the name under which the library tracks a partition."""
        return f"{self._leader}:{partition}"

    def position(self, partition: int) -> int:
        """Return the position that the library has tracked of a partition."""
        return self.recorder.max_tracking_id(self.name_of(partition)) or 0

    def unit_of_work(self, _schema: str) -> LocalUnitOfWork:
        """Return what has parked events processed again."""
        return LocalUnitOfWork(self)


class LocalUnitOfWork:
    """Has a follower process events that were parked."""

    def __init__(self, host: LocalHost) -> None:
        self._host = host

    async def read(
        self, connection: Any, originators: Collection[str], events: Sequence[Event]
    ) -> None:
        """Read nothing: a policy reads what it needs."""

    def apply(self, event: Event, place: Place) -> None:
        """Have the follower process an event, tracked under a name of its own.

        The tracking of its partition is past it, or moves past it: it was not, if the event could
        not be read.
        """
        name = self._host.name_of(place.partition)
        self._host.process(event, f"{name}:{place.position}", place.position)
        if self._host.position(place.partition) < place.position:
            self._host.recorder.insert_tracking(LibraryTracking(name, place.position))

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing is known here of what an event would have done."""

    async def write(self, connection: Any) -> None:
        """Write nothing more: each event is recorded as it is processed."""


class LocalStore:
    """Where a follower has come to, as its own recorder tells. It has the face of a `ViewStore`."""

    def __init__(self, view: View, host: LocalHost) -> None:
        self.view = view
        self.schema = view.name
        self.host = host
        leader, recorder = view.application_name, host.recorder
        self.parking: LocalParking = (
            SQLiteParking(recorder, leader)
            if isinstance(recorder, SQLiteTrackingRecorder)
            else MemoryParking(recorder, leader)
        )
        self.tracking = self
        self._trackings: dict[int, Tracking] = {}
        self._records: dict[int, int] = {}

    def check_lasting(self) -> None:
        """Raise `InMemoryError` if no other process finds here what one has recorded."""
        datastore = getattr(self.host.recorder, "datastore", None)
        if datastore is None or datastore.pool.is_sqlite_memory_mode:
            raise InMemoryError(self.view.name)

    @asynccontextmanager
    async def connected(self, _settings: Mapping[str, str] | None = None) -> AsyncIterator[None]:
        """Connect to nothing: the recorder has its own connections."""
        yield None

    working = connected

    @asynccontextmanager
    async def mending(self) -> AsyncIterator[ThreadedTransaction]:
        """Open a transaction in which consumers neither park nor apply anything."""
        async with in_thread(pinned(self.host.recorder.datastore)) as connection:
            yield ThreadedTransaction(connection)

    async def prepare(self, _connection: None, _partitions: int, *, indexed: bool = True) -> None:
        """Prepare nothing: the library has made its tables."""

    async def check(self, _connection: None) -> None:
        """Check nothing: whatever is there is as the library makes it."""

    async def notify(self, _connection: Any) -> None:
        """Wake nobody: the library's recorders are asked again and again."""

    async def read(self, _connection: None, partitions: Collection[int]) -> Mapping[int, Tracking]:
        """Return the tracking of each of some partitions."""
        return await to_thread.run_sync(lambda: {number: self.at(number) for number in partitions})

    async def count(self, _connection: Any) -> int:
        """Return 0: how many partitions there are is not known here."""
        return 0

    async def progress(self, _connection: None) -> Sequence[Progress]:
        """Return how far each partition is, as whoever follows has noted."""
        return await to_thread.run_sync(self.parking.progress)

    def at(self, partition: int) -> Tracking:
        """Return the tracking of a partition.

        The library knows no offsets: a new consumer reads from the first one, and what it has
        applied before is already seen. Its positions are those of events that the follower wants.
        """
        position = self.host.position(partition)
        known = self._trackings.get(partition)
        if known is None or position > known.position:
            known = self._trackings[partition] = Tracking(partition, position, 0)
        return known

    def advance(self, span: Span, stopped: str | None) -> Tracking:
        """Take note of what is applied, or not wanted; return the tracking past it."""
        tracking = span.moved(self.at(span.partition))
        self._trackings[span.partition] = tracking
        before = self._records.get(span.partition, 0) if span.start else 0
        records = self._records[span.partition] = before + len(span.items)
        self.parking.note(tracking, records, stopped)
        return tracking


class LocalApplying:
    """Applies batches, event by event."""

    def __init__(self, store: LocalStore, on_error: OnError = OnError.PARK) -> None:
        self._store = store
        self._host = store.host
        self._on_error = on_error

    async def apply(
        self, _connection: None, batch: Sequence[Span], _seen: Mapping[int, Tracking]
    ) -> Applied | Moved:
        """Apply a batch; what another owner has applied meanwhile is already seen."""
        records = (item.record for span in batch for item in span.items)
        with processing(self._store.view.name, records):
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
                    stopped[span.partition] = error.story
                    end = span.before(item.record.offset)
                    break
            trackings.append(self._store.advance(end, stopped.get(span.partition)))
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
        set_aside = self._store.parking.known(located)
        if set_aside.has_dropped(located):
            return "dropped"
        if item.originator_id in set_aside.parked and self._park(located, None):
            return "parked"
        try:
            return self._process(located)
        except Exception as reason:
            if is_transient(reason):
                raise
            return self._failed(located, reason)

    def _failed(self, located: Located, reason: Exception) -> str:
        """Do with an event that can't be applied what is to be done with such."""
        (partition, item), position = located, located.place.position
        if self._on_error is not OnError.PARK:
            raise CannotApplyError(partition, item, reason) from reason
        if not item.error and self._host.position(partition) >= position:
            # Tried again, it would be recorded twice.
            logger.error(
                "position %d was recorded, and failed after that: %s",
                position,
                type(reason).__name__,
            )
            return "applied"
        self._park(located, reason)
        return "parked"

    def _process(self, located: Located) -> str:
        if located.item.error:
            raise located.item.error
        partition, position = located.place
        for attempt in range(ATTEMPTS):
            try:
                self._host.process(located.item.event, self._host.name_of(partition), position)
            except IntegrityError:
                if self._host.position(partition) >= position:
                    return "already seen"
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return "applied"
        raise AssertionError

    def _park(self, located: Located, reason: Exception | None) -> bool:
        partition, position = located.place
        moves = position > self._host.position(partition) and not located.item.error
        tracking = LibraryTracking(self._host.name_of(partition), position) if moves else None
        return self._store.parking.park(located, reason, tracking)
