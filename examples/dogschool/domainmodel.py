"""Dogs, and the tricks that they learn."""

import sys
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.domain import Aggregate, event
from eventsourcing.utils import register_topic


class Dog(Aggregate):
    """A dog that learns one trick after the other."""

    class Registered(Aggregate.Created):
        """A dog came to the school."""

        name: str

    class TrickAdded(Aggregate.Event):
        """A dog learnt a trick."""

        trick: str

    @event(Registered)
    def __init__(self, name: str) -> None:
        self.name = name
        self.tricks: list[str] = []

    @staticmethod
    def create_id(name: str) -> UUID:
        """Return the one ID that the dog of this name can have."""
        return uuid5(NAMESPACE_URL, f"/dogs/{name}")

    @event(TrickAdded)
    def add_trick(self, trick: str) -> None:
        """Learn a trick."""
        self.tricks.append(trick)


# What was stored before it moved here names it so.
register_topic("producer.dogschool.domainmodel", sys.modules[__name__])
