"""What the view of the tricks can do, and what the events of the dog school do to it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Tracking, TrackingRecorder
from eventsourcing.projection import Projection

from examples.dogschool.domainmodel import Dog


class TrickCount(NamedTuple):
    """A trick, and how many times it has been learnt."""

    trick: str
    times: int


class TricksView(TrackingRecorder, ABC):
    """Counts in the transaction of the tracking: an event seen before raises `IntegrityError`."""

    @abstractmethod
    def count_trick(self, trick: str, tracking: Tracking) -> None:
        """Count that a trick has been learnt once more."""

    @abstractmethod
    def get_count(self, trick: str) -> int:
        """Return how many times a trick has been learnt."""

    @abstractmethod
    def get_favourites(self, limit: int) -> Sequence[TrickCount]:
        """Return the tricks learnt most, the first one first, equal ones by name."""


class Tricks(Projection[TricksView]):
    """Counts the tricks that dogs learn.

    It takes every event of the school, so that one can wait for any position.
    """

    name = "tricks"

    @singledispatchmethod
    def process_event(
        self,
        domain_event: DomainEventProtocol[UUID],  # noqa: ARG002 - whatever it is
        tracking: Tracking,
    ) -> None:
        """Move on, past what is no trick."""
        self.view.insert_tracking(tracking)

    @process_event.register(Dog.TrickAdded)
    def _(self, domain_event: Dog.TrickAdded, tracking: Tracking) -> None:
        self.view.count_trick(domain_event.trick, tracking)
