"""Compares the tracking of a view with the records of its partition, as they go past."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aiokafka import ConsumerRecord

from eventsourcing_kafka.compose.audit.report import Fault, Finding, Findings
from eventsourcing_kafka.consumer.engine.tracking import NOWHERE, Tracking


class SetAside(NamedTuple):
    """A parked or dropped event of a view, or a range of offsets that was skipped."""

    partition: int
    first_offset: int
    last_offset: int
    position: int | None
    """None for a range, and for a record that can't be read."""
    originator_id: str | None
    """None for a range."""

    @property
    def is_range(self) -> bool:
        """Tell whether it was made by skipping, not by an event of its own."""
        return self.originator_id is None

    @property
    def is_unreadable(self) -> bool:
        """Tell whether it is of an aggregate, but nobody knows which event."""
        return self.position is None and not self.is_range


class TrackingAudit:
    """The tracking of a view for one partition."""

    def __init__(self, view: str, tracking: Tracking, set_aside: Iterable[SetAside]) -> None:
        self._view = view
        self._tracking = tracking
        set_aside = list(set_aside)
        events = [event for event in set_aside if not event.is_range]
        self._unmet = {_place(event): event for event in events}
        self._passed_by = set(self._unmet)
        self._skipped = [event for event in set_aside if event.is_range]
        # A record that was set aside may have moved the position, or not.
        self._at_least = 0
        self._at_most = 0

    def observe(self, record: ConsumerRecord, position: int | None) -> None:
        """Take note of a record, and of its position if it is of a notification."""
        if record.partition != self._tracking.partition:
            return
        for place in ((record.offset, None), (NOWHERE, position)):
            event = self._unmet.get(place)
            if event and event.position in (None, position):
                del self._unmet[place]
        if record.offset < self._tracking.offset and position is not None:
            self._at_most = max(self._at_most, position)
            if not self._is_set_aside(record.offset, position):
                self._at_least = max(self._at_least, position)

    def conclude(
        self, ends: Mapping[int, int], deleted: Mapping[int, int], findings: Findings
    ) -> None:
        """Find out whether the tracking is where the records are.

        Of those up to the positions that are `deleted` there are none to compare it with.
        """
        partition, position, offset, *_ = self._tracking
        end, gone = ends.get(partition, 0), deleted.get(partition, 0)
        if offset > end:
            findings.add(self._misplaced(f"its next offset is beyond the end, {end}"))
        at_most = max(self._at_most, gone)
        if not (self._tracking.is_in_write_model or self._at_least <= position <= at_most):
            what = f"the records before its next offset end with position {at_most}"
            findings.add(self._misplaced(what))
        for event in self._unmet.values():
            if event.position is None or event.position > gone:
                findings.add(self._unaccounted(event))

    def _is_set_aside(self, offset: int, position: int) -> bool:
        places = {(offset, None), (NOWHERE, position)}
        return not places.isdisjoint(self._passed_by) or any(
            skipped.first_offset <= offset <= skipped.last_offset for skipped in self._skipped
        )

    def _misplaced(self, what: str) -> Finding:
        partition, position, offset, *_ = self._tracking
        return Finding(
            where=f"{self._view}.tracking",
            fault=Fault.POSITION,
            position=position,
            partition=partition,
            offset=offset,
            what=what,
        )

    def _unaccounted(self, event: SetAside) -> Finding:
        return Finding(
            where=self._view,
            fault=Fault.UNACCOUNTED,
            position=event.position,
            partition=event.partition,
            offset=event.first_offset,
            aggregate=event.originator_id,
            what="it is parked or dropped, and the topic has no such record there",
        )


def _place(event: SetAside) -> tuple[int, int | None]:
    """Return where an event was: its offset, or its position, if it came from the write model."""
    if event.first_offset == NOWHERE:
        return NOWHERE, event.position
    return event.first_offset, None
