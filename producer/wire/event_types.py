"""The registry of published event types: the classes that a record may name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, cast
from uuid import UUID

import msgspec
from eventsourcing.domain import BaseAggregate, CanMutateAggregate, DomainEventProtocol
from eventsourcing.utils import get_topic

from eventsourcing_kafka.producer.runtime.compat import id_type, registered_as
from eventsourcing_kafka.producer.runtime.errors import OperatorError

Event = DomainEventProtocol[Any]

MOST_ALIASES = 10_000
"""Stored topics that are remembered, of all that records have named."""


class WireError(OperatorError, ValueError):
    """A record can't be read as an event, or an event can't be written as a record."""


class OutdatedError(WireError):
    """What a record carries is newer than this program: whoever reads it is to be updated."""


class UnknownEventTypeError(OutdatedError):
    """No registered event class has this name."""


class EventType:
    """One event class, and what it is called."""

    def __init__(self, cls: type[Event]) -> None:
        self.cls = cls
        self.topic = get_topic(cls)
        self.name = published_name(self.topic)
        self.version: int = getattr(cls, "class_version", 1)

    def originator_id(self, text: str) -> UUID | str:
        """Return the ID of an aggregate as its events have it.

        Raises `ValueError` if it is none, and `TypeError` for a class that does not say its type.
        """
        return msgspec.convert(text, self._id_type)

    @cached_property
    def _id_type(self) -> type[UUID | str]:
        return id_type(self.cls)

    def check_version(self, version: int) -> None:
        """Raise `OutdatedError` for a class version that is not known here."""
        if version > self.version:
            raise OutdatedError(
                f"The value is version {version} of {self.name}, "
                f"and this program knows versions up to {self.version}: update it."
            )

    @property
    def aggregate_topic(self) -> str:
        """The class in which the event class is defined, as a created event is stored with it."""
        return f"{self.cls.__module__}:{self.cls.__qualname__.rpartition('.')[0]}"


def published_name(topic: str) -> str:
    """Return what the events are called on the wire that are stored under a topic."""
    return topic.partition(":")[2] or topic


def upcast_from(version: int) -> str:
    """Return what the library calls the method that makes the next version of a state."""
    return f"upcast_v{version}_v{version + 1}"


class EventTypes:
    """The event classes that a topic may carry.

    A record never decides what Python imports: what it names is looked up here, by the topic that
    its event is stored under, or by an alias that the application has registered for it, or by its
    published name; or is unknown.
    """

    def __init__(
        self, classes: Iterable[type[Event]] = (), aggregates: Iterable[type] = ()
    ) -> None:
        self._by_name: dict[str, EventType] = {}
        self._by_topic: dict[str, EventType] = {}
        self._aggregates = {get_topic(aggregate) for aggregate in aggregates}
        for cls in classes:
            self.register(cls)

    @classmethod
    def of(cls, *owners: type) -> EventTypes:
        """Register all event classes of some aggregates, and event classes given themselves."""
        return cls(
            (event_class for owner in owners for event_class in _event_classes(owner)),
            (owner for owner in owners if issubclass(owner, BaseAggregate)),
        )

    def register(self, cls: type[Event]) -> EventType:
        """Add one event class. Raises `WireError` if its name is another class's already."""
        event_type = EventType(cls)
        known = self._by_name.setdefault(event_type.name, event_type)
        if known.cls is not cls:
            raise WireError(
                f"{event_type.topic} and {known.topic} would both be published as "
                f"{event_type.name!r}: give one of them another name."
            )
        self._by_topic[known.topic] = known
        self._aggregates.add(known.aggregate_topic)
        return known

    def find(self, topic: str, name: str) -> EventType | None:
        """Return the event type that is stored under a topic, and published under a name.

        None if neither is known.
        """
        known = self._by_topic.get(topic)
        return known or self._alias(topic) or self._by_name.get(name)

    def _alias(self, topic: str) -> EventType | None:
        cls = registered_as(topic)
        known = self._by_topic.get(get_topic(cls)) if isinstance(cls, type) else None
        if known and known.cls is cls and len(self._by_topic) < MOST_ALIASES:
            self._by_topic[topic] = known
        return known if known and known.cls is cls else None

    def knows_aggregate(self, topic: str) -> bool:
        """Tell whether a topic, or an alias, is that of an aggregate whose events are known."""
        if topic in self._aggregates:
            return True
        cls = registered_as(topic)
        return isinstance(cls, type) and get_topic(cls) in self._aggregates

    def named(self, name: str) -> EventType:
        """Return the event type of a published name, such as `Page.BodyUpdated`."""
        try:
            return self._by_name[name]
        except KeyError:
            raise self.unknown(name) from None

    def unknown(self, name: str) -> UnknownEventTypeError:
        """Return the error for a name that no registered class has."""
        return UnknownEventTypeError(
            f"No event type {name[:80]!r} is registered: if it is a new one, update this program. "
            f"Known are: {', '.join(sorted(self._by_name)) or 'none'}."
        )

    def __iter__(self) -> Iterator[EventType]:
        """Iterate over the registered types."""
        return iter(self._by_name.values())

    def __contains__(self, event_type: EventType) -> bool:
        """Tell whether a type's class is registered."""
        known = self._by_name.get(event_type.name)
        return known is not None and known.cls is event_type.cls


def _event_classes(owner: type) -> Iterator[type[Event]]:
    if not issubclass(owner, BaseAggregate):
        yield cast("type[Event]", owner)
        return
    for attribute in vars(owner).values():
        if isinstance(attribute, type) and issubclass(attribute, CanMutateAggregate):
            yield attribute
