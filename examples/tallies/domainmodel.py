"""A tally of the events of one kind."""

from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.domain import Aggregate, event


class Tally(Aggregate):
    """How many events of one kind there have been."""

    class Started(Aggregate.Created):
        """The first event of its kind is about to be counted."""

        name: str

    class Increased(Aggregate.Event):
        """There was one more."""

    @event(Started)
    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    @staticmethod
    def create_id(name: str) -> UUID:
        """Return the one ID that the tally of this name can have."""
        return uuid5(NAMESPACE_URL, f"/tallies/{name}")

    @event(Increased)
    def increase(self) -> None:
        """Count one more."""
        self.count += 1
