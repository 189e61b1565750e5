"""Those who live."""

import sys
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.domain import Aggregate, event
from eventsourcing.utils import register_topic


class Population(Aggregate):
    """The IDs of the living, in the order in which word of them came."""

    class Founded(Aggregate.Created):
        """The population began, with nobody in it."""

    class Born(Aggregate.Event):
        """Somebody began to live."""

        member_id: UUID

    class Died(Aggregate.Event):
        """Somebody lives no more."""

        member_id: UUID

    @event(Founded)
    def __init__(self) -> None:
        self.living: list[UUID] = []

    @staticmethod
    def create_id() -> UUID:
        """Return the ID of the one population."""
        return uuid5(NAMESPACE_URL, "/population")

    @event(Born)
    def add(self, member_id: UUID) -> None:
        """Add somebody to the living."""
        self.living.append(member_id)

    @event(Died)
    def remove(self, member_id: UUID) -> None:
        """Remove somebody from the living. Raises `ValueError` for one who is not there."""
        self.living.remove(member_id)


# What was stored before it moved here names it so.
register_topic("consumer.census.domainmodel", sys.modules[__name__])
