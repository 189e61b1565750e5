"""Collects what is recorded during a batch, and inserts it together at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from eventsourcing.persistence import StoredEvent, Tracking, TrackingRecorder

from eventsourcing_kafka.producer.runtime.compat import tracking_in, tracks_in_one_row
from eventsourcing_kafka.producer.runtime.errors import OperatorError


class PolicyError(OperatorError):
    """A policy does what it must not."""

    def __init__(self) -> None:
        super().__init__(
            "The policy has called save() on its application. Events saved so are not "
            "recorded together with the tracking, and could be recorded twice: "
            "call collect_events() on the processing event instead."
        )


class CollectingRecorder:
    """Stands in for an application's recorder while a batch is applied.

    New events are kept in memory, and every read sees them: `select_events` adds them to what is
    stored, and before anything else of the recorder is used, a custom query for one, they are
    written. A recorder that records more than events, given keyword arguments, does so at once.

    The tracking is not handed on: it is ours, per partition, in the same transaction.
    """

    def __init__(self, recorder: Any, insert: Callable[..., None]) -> None:
        self.behind = recorder
        self._insert_with = insert
        self.recorded: set[UUID | str] = set()
        """The aggregates that have new events since the last mark."""
        self.last: dict[UUID | str, StoredEvent] = {}
        """The last event of each aggregate that has new ones."""
        self._events: list[StoredEvent] = []
        self._by_originator: dict[UUID | str, list[StoredEvent]] = defaultdict(list)

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        tracking: Tracking | None = None,
        **kwargs: Any,
    ) -> Sequence[int] | None:
        """Keep new events; write them at once if more is to be recorded with them."""
        if tracking is None:
            raise PolicyError
        self.recorded.update(event.originator_id for event in stored_events)
        self.last |= {event.originator_id: event for event in stored_events}
        if kwargs:
            self.write()
            self._insert(stored_events, **kwargs)
        else:
            self._events += stored_events
            for event in stored_events:
                self._by_originator[event.originator_id].append(event)
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
        """Return the events of an aggregate: those stored, and those collected after them."""
        stored = list(
            self.behind.select_events(originator_id, gt=gt, lte=lte, desc=desc, limit=limit)
        )
        collected = [
            event
            for event in self._by_originator.get(originator_id, ())
            if (gt is None or event.originator_version > gt)
            and (lte is None or event.originator_version <= lte)
        ]
        events = [*reversed(collected), *stored] if desc else [*stored, *collected]
        return events[:limit]

    def write(self) -> None:
        """Insert what is collected. Raises the library's errors, with nothing forgotten."""
        if self._events:
            self._insert(self._events)
            self.forget(0)

    def _insert(self, events: Sequence[StoredEvent], **kwargs: Any) -> None:
        """Insert within the transaction of the batch."""
        self._insert_with(self.behind, events, **kwargs)

    def mark(self) -> int:
        """Return how much is collected, to come back to."""
        self.recorded.clear()
        return len(self._events)

    def forget(self, mark: int) -> None:
        """Forget what was collected since `mark`."""
        del self._events[mark:]
        self._by_originator.clear()
        for event in self._events:
            self._by_originator[event.originator_id].append(event)

    def __getattr__(self, name: str) -> Any:
        """Let everything else see what is collected."""
        self.write()
        return getattr(self.behind, name)


@contextmanager
def collected_tracking(recorder: TrackingRecorder) -> Iterator[None]:
    """Have a view track in memory meanwhile, and write up to where, if all goes well, at the end.

    All events of a partition change the same row otherwise: that is half of what each costs.
    """
    if not tracks_in_one_row(recorder):
        yield
        return
    positions: dict[str, int] = {}
    with tracking_in(recorder, positions):
        yield
    for name, position in positions.items():
        recorder.insert_tracking(Tracking(name, position))
