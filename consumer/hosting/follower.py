"""What is hosted."""

from __future__ import annotations

from typing import Any, Protocol

from eventsourcing.persistence import Tracking


class Follower(Protocol):
    """What a process application, an event-sourced projection and a projection have in common."""

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Apply the policy to an event, and record what comes of it with the tracking."""
