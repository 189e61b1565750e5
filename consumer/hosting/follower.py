"""What is hosted."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from eventsourcing.persistence import Tracking


class Follower(Protocol):
    """What a process application, an event-sourced projection and a projection have in common."""

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Apply the policy to an event, and record what comes of it with the tracking."""


@runtime_checkable
class Emptied(Protocol):
    """A materialised view that says how it is emptied, so that it can be replayed."""

    def empty_for_replay(self) -> None:
        """Delete all that was projected into it. The tracking goes with it, in one transaction."""
