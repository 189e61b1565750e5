"""Keeps the population."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import DomainEventProtocol, MutableOrImmutableAggregate
from eventsourcing.system import ProcessApplication
from eventsourcing.utils import get_topic

from tests.systems.census.domainmodel import Population
from tests.systems.everything.domainmodel import ExampleAggregateRoot


class Census(ProcessApplication[UUID]):
    """Follows the births and deaths of example aggregates.

    What it follows is encrypted, so it needs the same `CIPHER_KEY`, and encrypts its own events.
    """

    env: ClassVar[dict[str, str]] = {"CIPHER_TOPIC": "eventsourcing.cipher:AESCipher"}
    snapshotting_intervals: ClassVar[dict[type[MutableOrImmutableAggregate[Any]], int]] = {
        Population: 50
    }
    topics = (
        get_topic(ExampleAggregateRoot.Created),
        get_topic(ExampleAggregateRoot.Discarded),
    )

    @singledispatchmethod
    def policy(
        self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]
    ) -> None:
        """Count nothing but births and deaths."""

    @policy.register(ExampleAggregateRoot.Created)
    def _(
        self,
        domain_event: ExampleAggregateRoot.Created,
        processing_event: ProcessingEvent[UUID],
    ) -> None:
        try:
            population = self._get_population()
        except AggregateNotFoundError:
            population = Population()
        population.add(domain_event.originator_id)
        processing_event.collect_events(population)

    @policy.register(ExampleAggregateRoot.Discarded)
    def _(
        self,
        domain_event: ExampleAggregateRoot.Discarded,
        processing_event: ProcessingEvent[UUID],
    ) -> None:
        population = self._get_population()
        population.remove(domain_event.originator_id)
        processing_event.collect_events(population)

    def get_living(self) -> Sequence[UUID]:
        """Return the IDs of the living, in the order in which word of them came."""
        try:
            return self._get_population().living
        except AggregateNotFoundError:
            return []

    def _get_population(self) -> Population:
        return self.repository.get(Population.create_id())
