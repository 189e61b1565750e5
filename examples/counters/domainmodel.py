"""A count that only goes up."""

import sys
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.domain import Aggregate, event
from eventsourcing.utils import register_topic


class Counter(Aggregate):
    """How often something happened."""

    class Created(Aggregate.Created):
        """Something is going to be counted."""

        name: str

    class Incremented(Aggregate.Event):
        """It happened once more."""

    @event(Created)
    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    @staticmethod
    def create_id(name: str) -> UUID:
        """Return the one ID that the counter of this name can have."""
        return uuid5(NAMESPACE_URL, f"/counters/{name}")

    @event(Incremented)
    def increment(self) -> None:
        """Count one more."""
        self.count += 1


# What was stored before it moved here names it so.
register_topic("consumer.counters.domainmodel", sys.modules[__name__])
