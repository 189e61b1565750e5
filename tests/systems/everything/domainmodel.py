"""An aggregate root that controls a cluster of entities, and that can be discarded."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self, cast
from uuid import UUID, uuid4

from eventsourcing.domain import (
    Aggregate,
    CanMutateProtocol,
    DomainEventProtocol,
    MutableOrImmutableAggregate,
    event,
)
from eventsourcing.domain import Snapshot as AggregateSnapshot
from eventsourcing.persistence import Transcoding
from eventsourcing.utils import register_topic


class DiscardedError(Exception):
    """The aggregate is discarded: nothing more can happen to it."""


@dataclass(frozen=True)
class Example:
    """An entity that exists only inside its aggregate, under the control of the root."""

    id: UUID


class ExampleAsHex(Transcoding):
    """Stores an example in a snapshot."""

    type = Example
    name = "example"

    def encode(self, obj: Example) -> str:
        """Return what identifies the example."""
        return obj.id.hex

    def decode(self, data: str) -> Example:
        """Return the example that was encoded."""
        return Example(UUID(data))


class ExampleAggregateRoot(Aggregate):
    """The root: everything about its examples goes through it, and comes with its events."""

    class Event(Aggregate.Event):
        """Something that happened to the aggregate."""

    class Created(Aggregate.Created, Event):
        """The aggregate came into being."""

        foo: str

    class AttributeChanged(Event):
        """`foo` got another value."""

        foo: str

    class ExampleCreated(Event):
        """An example came into being inside the aggregate."""

        example_id: UUID

    class Discarded(Event):
        """The aggregate is no more, and is not found any longer. Its past remains."""

        def mutate(self, aggregate: Any) -> None:
            """Leave nothing behind for a repository to find."""
            super().mutate(aggregate)

        def apply(self, aggregate: "ExampleAggregateRoot") -> None:
            """Tell who still holds the aggregate."""
            aggregate._is_discarded = True

    @dataclass(frozen=True)
    class Snapshot(AggregateSnapshot):
        """What the aggregate was at one version; without a state if it was discarded by then."""

        state: Any

        @classmethod
        def take(cls, aggregate: MutableOrImmutableAggregate[UUID]) -> Self:
            """Return a snapshot of the aggregate as it is."""
            snapshot = super().take(aggregate)
            discarded = cast("ExampleAggregateRoot", aggregate).is_discarded
            return replace(snapshot, state=None) if discarded else snapshot

        def mutate(self, _: None) -> Any:
            """Return the aggregate as it was, None if it was discarded."""
            return None if self.state is None else super().mutate(None)

    @event(Created)
    def __init__(self, foo: str) -> None:
        self._foo = foo
        self._examples: dict[str, Example] = {}
        self._is_discarded = False

    @property
    def foo(self) -> str:
        """An attribute; giving it a value is an event."""
        return self._foo

    @foo.setter
    @event(AttributeChanged)
    def foo(self, foo: str) -> None:
        self._foo = foo

    @property
    def is_discarded(self) -> bool:
        """Whether nothing more can happen."""
        return self._is_discarded

    def count_examples(self) -> int:
        """Return the size of the cluster."""
        return len(self._examples)

    def create_new_example(self) -> UUID:
        """Put one more example into the cluster, and return its ID."""
        example_id = uuid4()
        self._create_example(example_id)
        return example_id

    @event(ExampleCreated)
    def _create_example(self, example_id: UUID) -> None:
        self._examples[str(example_id)] = Example(example_id)

    def discard(self) -> None:
        """End the life of the aggregate."""
        self.trigger_event(self.Discarded)

    def trigger_event(self, event_class: Any, **kwargs: Any) -> None:
        """Let something happen. Raises `DiscardedError` after the end."""
        if self._is_discarded:
            raise DiscardedError(self.id)
        super().trigger_event(event_class, **kwargs)


def project_for_snapshot(
    aggregate: ExampleAggregateRoot | None, events: Iterable[DomainEventProtocol[UUID]]
) -> ExampleAggregateRoot | None:
    """Return the aggregate after the events, even the last one: a snapshot records that too."""
    for domain_event in events:
        mutated = cast("CanMutateProtocol[Any]", domain_event).mutate(aggregate)
        aggregate = mutated or aggregate
    return aggregate


# What was stored before it moved here names it so.
register_topic("producer.everything.domainmodel", sys.modules[__name__])
