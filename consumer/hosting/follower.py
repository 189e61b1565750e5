"""What is hosted."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from eventsourcing.persistence import ProcessRecorder, Tracking, TrackingRecorder

from eventsourcing_kafka.consumer.engine.protocol import Again
from eventsourcing_kafka.consumer.engine.store import RECORDS_EVENTS


class Follower(Protocol):
    """What a process application, an event-sourced projection and a projection have in common."""

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Apply the policy to an event, and record what comes of it with the tracking."""


@runtime_checkable
class Emptied(Protocol):
    """A materialised view that says how it is emptied, so that it can be replayed."""

    def empty_for_replay(self) -> None:
        """Delete all that was projected into it. The tracking goes with it, in one transaction."""


ONLY_ITS_VIEW_KNOWS = (
    "it is a projection, and only its view knows its tables: no empty ones can be made beside "
    "them, and no rows of one aggregate be told. Project with a new one, under another name."
)

NOT_TRIED = (
    "it is an application, and what it makes of an event are events of its own, which are not "
    "tried out: look at those that it has recorded."
)


def why_not(recorder: TrackingRecorder, again: Again) -> str:
    """Tell why a follower's events can't be applied again beside what it has recorded of them."""
    if isinstance(recorder, ProcessRecorder):
        return NOT_TRIED if again is Again.STEPPED else RECORDS_EVENTS
    return ONLY_ITS_VIEW_KNOWS
