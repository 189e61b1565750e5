"""Hosts a follower whose recorder is not in Postgres: POPO, or SQLite.

Each event is recorded by the library together with its own tracking, one name for each partition:
`DogSchool:3`. That is the last word of the guard here: the library refuses a position that it has.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from eventsourcing.persistence import IntegrityError
from eventsourcing.persistence import Tracking as LibraryTracking
from eventsourcing.projection import EventSourcedProjection

from eventsourcing_kafka.consumer.hosting.follower import Follower
from eventsourcing_kafka.consumer.hosting.postgres.collecting import PolicyError
from eventsourcing_kafka.consumer.unit_of_work import Event, Place


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
        self.leader = leader
        self.redriving = False
        """Whether what is processed was parked: the tracking of its partition is past it then."""
        self._follower = follower
        self._saving = Saving(follower) if isinstance(follower, EventSourcedProjection) else None

    def process(self, event: Any, place: Place) -> None:
        """Have the follower process an event, unless it has it already.

        Raises the library's `IntegrityError` if what it records conflicts with what others do.
        """
        tracking = LibraryTracking(self.name_of(place.partition), place.position)
        if self.redriving:
            # The tracking of the partition is past it, so it has a name of its own.
            tracking = LibraryTracking(
                f"{tracking.application_name}:{place.position}", place.position
            )
        try:
            with self._saving.refused() if self._saving else nullcontext():
                self._follower.process_event(event, tracking)
        except IntegrityError:
            if not self._is_tracked(tracking):
                raise

    def move_past(self, place: Place) -> None:
        """Track a position that no event was recorded with."""
        if tracking := self.tracking_past(place):
            self.recorder.insert_tracking(tracking)

    def tracking_past(self, place: Place) -> LibraryTracking | None:
        """Return the tracking that moves past a position; None if it is past it already."""
        tracking = LibraryTracking(self.name_of(place.partition), place.position)
        return None if self._is_tracked(tracking) else tracking

    def name_of(self, partition: int) -> str:
        """Return the name under which the library tracks a partition."""
        return f"{self.leader}:{partition}"

    def position(self, partition: int) -> int:
        """Return the position that the library has tracked of a partition."""
        return self.recorder.max_tracking_id(self.name_of(partition)) or 0

    def mark(self) -> int:
        """Return up to which position all is applied, as the library, or we, have tracked it."""
        return self.recorder.max_tracking_id(self.leader) or 0

    def raise_mark(self, position: int) -> None:
        """Track up to which position all is applied, unless a higher one is tracked."""
        with suppress(IntegrityError):
            self.recorder.insert_tracking(LibraryTracking(self.leader, position))

    def unit_of_work(self, _schema: str) -> LocalUnitOfWork:
        """Return what has events processed."""
        return LocalUnitOfWork(self)

    def _is_tracked(self, tracking: LibraryTracking) -> bool:
        known = self.recorder.max_tracking_id(tracking.application_name) or 0
        return bool(known >= tracking.notification_id)


class LocalUnitOfWork:
    """Has a follower process events, each of which is recorded by itself."""

    def __init__(self, host: LocalHost) -> None:
        self._host = host

    async def read(
        self, connection: Any, originators: Collection[str], events: Sequence[Event]
    ) -> None:
        """Read nothing: a policy reads what it needs."""

    def apply(self, event: Event, place: Place) -> None:
        """Have the follower process an event."""
        self._host.process(event, place)
        if self._host.redriving:  # What could not be read when it was parked was not moved past.
            self._host.move_past(place)

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing is known here of what an event would have done."""

    async def write(self, connection: Any) -> None:
        """Write nothing more: each event is recorded as it is processed."""
