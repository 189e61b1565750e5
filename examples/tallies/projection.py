"""Counts the events of any application whose aggregates are the library's."""

from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, DomainEventProtocol
from eventsourcing.projection import EventSourcedProjection

from examples.tallies.domainmodel import Tally


class Tallies(EventSourcedProjection[UUID]):
    """Tells the events that create an aggregate from those that change one."""

    @singledispatchmethod
    def policy(
        self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]
    ) -> None:
        """Count nothing but events of aggregates."""

    @policy.register(Aggregate.Created)
    def _(self, _: Aggregate.Created, processing_event: ProcessingEvent[UUID]) -> None:
        self._increase(Aggregate.Created, processing_event)

    @policy.register(Aggregate.Event)
    def _(self, _: Aggregate.Event, processing_event: ProcessingEvent[UUID]) -> None:
        self._increase(Aggregate.Event, processing_event)

    def get_count(self, kind: type[Aggregate.Event]) -> int:
        """Return how many `Aggregate.Created`, or how many other `Aggregate.Event`, there were."""
        try:
            return self._get_tally(kind).count
        except AggregateNotFoundError:
            return 0

    def _increase(
        self, kind: type[Aggregate.Event], processing_event: ProcessingEvent[UUID]
    ) -> None:
        try:
            tally = self._get_tally(kind)
        except AggregateNotFoundError:
            tally = Tally(kind.__name__)
        tally.increase()
        processing_event.collect_events(tally)

    def _get_tally(self, kind: type[Aggregate.Event]) -> Tally:
        return self.repository.get(Tally.create_id(kind.__name__))
