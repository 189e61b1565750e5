"""Counts tricks, in aggregates of its own."""

from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.system import ProcessApplication

from examples.counters.domainmodel import Counter
from examples.dogschool.domainmodel import Dog


class Counters(ProcessApplication[UUID]):
    """Follows the dog school, and counts how often each trick has been learnt."""

    @singledispatchmethod
    def policy(
        self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]
    ) -> None:
        """Count nothing but tricks."""

    @policy.register(Dog.TrickAdded)
    def _(self, domain_event: Dog.TrickAdded, processing_event: ProcessingEvent[UUID]) -> None:
        try:
            counter = self._get_counter(domain_event.trick)
        except AggregateNotFoundError:
            counter = Counter(domain_event.trick)
        counter.increment()
        processing_event.collect_events(counter)

    def get_count(self, trick: str) -> int:
        """Return how often a trick has been learnt."""
        try:
            return self._get_counter(trick).count
        except AggregateNotFoundError:
            return 0

    def _get_counter(self, trick: str) -> Counter:
        return self.repository.get(Counter.create_id(trick))
