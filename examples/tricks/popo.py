"""The view of the tricks in memory."""

from collections import Counter
from collections.abc import Sequence

from eventsourcing.persistence import Tracking
from eventsourcing.popo import POPOTrackingRecorder

from examples.tricks.projection import TrickCount, TricksView


class POPOTricksView(TricksView, POPOTrackingRecorder):
    """Keeps counts and tracking in the process; both are lost with it."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()

    def count_trick(self, trick: str, tracking: Tracking) -> None:
        """Count that a trick has been learnt once more."""
        with self._database_lock:
            self.insert_tracking(tracking)
            self._counts[trick] += 1

    def get_count(self, trick: str) -> int:
        """Return how many times a trick has been learnt."""
        with self._database_lock:
            return self._counts[trick]

    def get_favourites(self, limit: int) -> Sequence[TrickCount]:
        """Return the tricks learnt most, the first one first, equal ones by name."""
        with self._database_lock:
            ranked = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return [TrickCount(*item) for item in ranked[:limit]]
