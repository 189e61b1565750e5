"""The registry of published event types: the classes that a record may name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import cached_property
from inspect import get_annotations
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.domain import (
    BaseAggregate,
    CanInitAggregate,
    CanMutateAggregate,
    DomainEvent,
    DomainEventProtocol,
)
from eventsourcing.utils import get_topic

from eventsourcing_kafka.producer.runtime.compat import id_type, registered_as
from eventsourcing_kafka.producer.runtime.errors import OperatorError

Event = DomainEventProtocol[Any]

SNAPSHOT = {"topic", "state"}
"""What a snapshot has beside what an event has."""

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
        self.is_base = bool(cls.__subclasses__()) and "." not in cls.__qualname__
        """Whether it is what other event classes have in common, by all that can be told."""
        self.is_creation = issubclass(cls, CanInitAggregate)
        """Whether an aggregate begins with it, whose class it names."""

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
        if version > self.version and not self._version_is_attribute:
            raise OutdatedError(
                f"The value is version {version} of {self.name}, "
                f"and this program knows versions up to {self.version}: update it."
            )

    @cached_property
    def _version_is_attribute(self) -> bool:
        """Whether `class_version` is something else to it: the library drops that, and so do we."""
        cls: Any = self.cls
        declared = is_dataclass(cls) and "class_version" in (each.name for each in fields(cls))
        return declared and not hasattr(cls, "class_version")

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
    its event is stored under, or by an alias that the application has registered for it; or is
    unknown. Its published name is not enough: another class may have it, in another module.
    """

    def __init__(
        self, classes: Iterable[type[Event]] = (), aggregates: Iterable[type] = ()
    ) -> None:
        self._types: dict[type[Event], EventType] = {}
        self._by_name: dict[str, EventType] = {}
        self._by_topic: dict[str, EventType] = {}
        self._aggregates = {get_topic(aggregate) for aggregate in aggregates}
        for cls in classes:
            self.register(cls)

    @classmethod
    def of(cls, *owners: type) -> EventTypes:
        """Register all event classes of some aggregates, and event classes given themselves."""
        given: list[Any] = [owner for owner in owners if not issubclass(owner, BaseAggregate)]
        classes = [each for owner in owners for each in classes_in(owner)]
        return cls(
            [*given, *(each for each in classes if is_event_class(each))],
            (each for each in classes if issubclass(each, BaseAggregate)),
        )

    def register(self, cls: type[Event]) -> EventType:
        """Add one event class. Raises `WireError` if its name is another class's already.

        What others inherit from, and no class has in it, may have any name: it is no event itself.
        """
        if cls in self._types:
            return self._types[cls]
        event_type = EventType(cls)
        known = self._by_name.setdefault(event_type.name, event_type)
        if known is not event_type and not (known.is_base or event_type.is_base):
            raise WireError(
                f"{event_type.topic} and {known.topic} would both be published as "
                f"{event_type.name!r}: give one of them another name."
            )
        self._types[cls] = self._by_topic[event_type.topic] = event_type
        self._aggregates.add(event_type.aggregate_topic)
        return event_type

    def find(self, topic: str) -> EventType | None:
        """Return the event type that is stored under a topic, or an alias; None for others."""
        return self._by_topic.get(topic) or self._alias(topic)

    def _alias(self, topic: str) -> EventType | None:
        cls = registered_as(topic)
        known = self._types.get(cls) if isinstance(cls, type) else None
        if known and len(self._by_topic) < MOST_ALIASES:
            self._by_topic[topic] = known
        return known

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
            raise UnknownEventTypeError(
                f"No event type {name[:80]!r} is registered. {self._those_known()}"
            ) from None

    def unknown(self, topic: str) -> UnknownEventTypeError:
        """Return the error for a topic that no registered class is stored under."""
        name = published_name(topic)
        if known := self._by_name.get(name):
            return UnknownEventTypeError(
                f"{name[:80]!r} is stored as {topic[:120]!r}, and the one that is known here as "
                f"{known.topic!r}: update this program, or if it is the same class under an old "
                "name, register that with the library's register_topic()."
            )
        return UnknownEventTypeError(
            f"No event type {name[:80]!r} is registered (stored as {topic[:120]!r}): if it is new, "
            "update this program; else let the application's module import its class. "
            f"{self._those_known()}"
        )

    def _those_known(self) -> str:
        return f"Known are: {', '.join(sorted(self._by_name)) or 'none'}."

    def __iter__(self) -> Iterator[EventType]:
        """Iterate over the registered types."""
        return iter(self._types.values())

    def __contains__(self, event_type: EventType) -> bool:
        """Tell whether a type's class is registered."""
        return event_type.cls in self._types


def is_event_class(cls: type) -> bool:
    """Tell whether a class is one of events: by what it inherits, or by what its objects have."""
    if issubclass(cls, CanMutateAggregate):
        return True
    declared = {name for base in cls.__mro__ for name in get_annotations(base)}
    if declared >= SNAPSHOT:
        return False
    return issubclass(cls, DomainEvent) or declared >= {"originator_id", "originator_version"}


def classes_in(owner: type) -> Iterator[type]:
    """Yield a class, those that are defined in it, however deep, and an aggregate's events."""
    yield owner
    for attribute in vars(owner).values():
        if not isinstance(attribute, type):
            continue
        if attribute.__qualname__.startswith(f"{owner.__qualname__}."):
            yield from classes_in(attribute)
        elif issubclass(owner, BaseAggregate) and is_event_class(attribute):
            yield attribute
