"""The registry of published event types: names, classes, and the JSON of their attributes."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import NoneType, UnionType
from typing import (
    Any,
    ClassVar,
    NotRequired,
    TypedDict,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

import msgspec
from eventsourcing.domain import BaseAggregate, CanMutateAggregate, DomainEventProtocol
from eventsourcing.utils import get_topic, resolve_topic

from eventsourcing_kafka.producer.runtime.errors import OperatorError

Event = DomainEventProtocol[Any]

UNIONS = {Union, UnionType}
PLAIN = {str, int, bool, NoneType, UUID, datetime}
"""The types whose values are equal, and of the same type, when they are read back from JSON."""

ADVICE = (
    "Annotate it with str, int, float, bool, UUID, datetime, Decimal, an enum, "
    "a dataclass, or a list, dict or union of such."
)


class WireError(OperatorError, ValueError):
    """A record can't be read as an event, or an event can't be written as a record."""


class UnknownEventTypeError(WireError):
    """No registered event class has this name."""


class EventType:
    """One published event class: its name, and its attributes to JSON and back."""

    def __init__(self, cls: type[Event]) -> None:
        self.cls = cls
        self.name = cls.__qualname__
        self.topic = get_topic(cls)
        self.version: int = getattr(cls, "class_version", 1)
        fields: tuple[dataclasses.Field[Any], ...] = (
            dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
        )
        self.defaults: dict[str, Any] = {
            field.name: field.default
            for field in fields
            if field.default is not dataclasses.MISSING
        }
        hints = _attribute_types(cls)
        # The attributes as a typed dictionary: msgspec then checks and converts them in C.
        self.attributes: Any = TypedDict(  # type: ignore[misc]
            self.name.replace(".", ""),
            {
                name: NotRequired[hint] if name in self.defaults else hint
                for name, hint in hints.items()
            },
        )
        try:
            self._decoder = msgspec.json.Decoder(self.attributes)
        except TypeError as error:
            raise WireError(
                f"{self.name} has an attribute type without a JSON form: {error}. {ADVICE}"
            ) from error
        # A created event names its aggregate by a Python path. On the wire it is the class's name.
        self.names_aggregate = "originator_topic" in hints
        unambiguous = self.version == 1 and ("timestamp" in hints or not hasattr(cls, "timestamp"))
        self.plain = _plain(hints) if unambiguous else None
        """The types of each attribute if all of them are in `PLAIN`, else None."""

    def to_json(self, event: Event) -> bytes:
        """Return the attributes of an event as JSON that reads back as an equal event.

        Raises `WireError` naming the event if it doesn't: nothing is published
        that no consumer could apply.
        """
        attributes = stored = vars(event)
        if self.names_aggregate:
            aggregate = resolve_topic(attributes["originator_topic"])
            attributes = {**attributes, "originator_topic": aggregate.__qualname__}
            # What was stored before its module moved names the aggregate by the old path.
            stored = {**stored, "originator_topic": get_topic(aggregate)}
        try:
            value = msgspec.json.encode(attributes)
            # What was stored before an attribute was added has its default, as on the class.
            same = vars(self.from_json(value)) == {**self.defaults, **stored}
        except (TypeError, ValueError, RecursionError) as error:
            raise WireError(
                f"{self._describe(event)} has no JSON form: {error}. {ADVICE}"
            ) from error
        if not same:
            raise WireError(
                f"{self._describe(event)} does not survive JSON. "
                f"Annotate the attributes of {self.topic} with the types they really have"
                + (", and have its upcasts make those types." if self.version > 1 else ".")
            )
        return value

    def from_json(self, value: bytes, version: int | None = None) -> Event:
        """Return the event whose attributes are in `value`, written by class version `version`.

        An older version goes through the upcasts that the library calls for stored events. Here
        they find the attributes as JSON has them (a UUID is text), and in the store as the library
        has them. Both are brought up to date by an upcast that makes the annotated types.

        Raises `WireError` when the JSON is broken or an attribute is missing or of a wrong type.
        """
        try:
            if version is None or version == self.version:
                attributes = self._decoder.decode(value)
            else:
                attributes = self._upcast(msgspec.json.decode(value), version)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise WireError(f"The value is not a {self.name}: {error}") from error
        if self.defaults:
            attributes = {**self.defaults, **attributes}
        if self.names_aggregate:
            attributes["originator_topic"] = self._aggregate_topic(attributes["originator_topic"])
        event = object.__new__(self.cls)
        # The library restores stored events the same way: frozen dataclasses, no __init__.
        object.__setattr__(event, "__dict__", attributes)
        return event

    def check_version(self, version: int) -> None:
        """Raise `WireError` for a class version that is not known here."""
        if not 1 <= version <= self.version:
            raise WireError(
                f"The value is version {version} of {self.name}, "
                f"and this program knows versions up to {self.version}: update it."
            )

    def _upcast(self, attributes: Any, version: int) -> Any:
        self.check_version(version)
        try:
            for from_version in range(version, self.version):
                getattr(self.cls, upcast_from(from_version))(attributes)
        except Exception as error:  # The class's own code, over attributes not checked yet.
            raise WireError(f"It is no {self.name} of version {version}: {error!r}") from error
        return msgspec.convert(attributes, self.attributes, str_keys=True)

    @property
    def aggregate_name(self) -> str:
        """The class in which the event class is defined."""
        return self.name.rpartition(".")[0]

    @property
    def aggregate_topic(self) -> str:
        """The same, as a created event of it is stored with."""
        return f"{self.cls.__module__}:{self.aggregate_name}"

    def _aggregate_topic(self, aggregate_name: str) -> str:
        expected = self.aggregate_name  # Never from the record.
        if aggregate_name != expected:
            raise WireError(f"A {self.name} creates a {expected}, not a {aggregate_name!r}.")
        return self.aggregate_topic

    def _describe(self, event: Event) -> str:
        return f"{self.name} {event.originator_id} version {event.originator_version}"


def upcast_from(version: int) -> str:
    """Return what the library calls the method that makes the next version of a state."""
    return f"upcast_v{version}_v{version + 1}"


class EventTypes:
    """The event classes that a topic may carry, by their published names.

    A record never decides what Python imports: its type is looked up here, or is unknown.
    """

    def __init__(self, classes: Iterable[type[Event]] = ()) -> None:
        self._by_name: dict[str, EventType] = {}
        self._by_topic: dict[str, EventType] = {}
        for cls in classes:
            self.register(cls)

    @classmethod
    def of(cls, *owners: type) -> EventTypes:
        """Register all event classes of some aggregates, and event classes given themselves."""
        return cls(event_class for owner in owners for event_class in _event_classes(owner))

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
        return known

    def named(self, name: str) -> EventType:
        """Return the event type of a published name, such as `Page.BodyUpdated`."""
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownEventTypeError(
                f"No event type {name[:80]!r} is registered. Known are: "
                f"{', '.join(sorted(self._by_name)) or 'none'}."
            ) from None

    def stored_as(self, topic: str) -> EventType:
        """Return the event type of a topic in the write model's own store.

        A class not registered yet is imported and added: the store is the application's own.
        """
        return self._by_topic.get(topic) or self.register(resolve_topic(topic))

    def __iter__(self) -> Iterator[EventType]:
        """Iterate over the registered types."""
        return iter(self._by_name.values())

    def __contains__(self, name: object) -> bool:
        """Tell whether a published name is registered."""
        return name in self._by_name


def _event_classes(owner: type) -> Iterator[type[Event]]:
    if not issubclass(owner, BaseAggregate):
        yield cast("type[Event]", owner)
        return
    for attribute in vars(owner).values():
        if isinstance(attribute, type) and issubclass(attribute, CanMutateAggregate):
            yield attribute


def _attribute_types(cls: type) -> dict[str, Any]:
    """Return name and type of each attribute; an attribute without an annotation is `Any`."""
    hints = {}
    for name, hint in get_type_hints(cls).items():
        if get_origin(hint) is ClassVar or hint is ClassVar:
            continue
        if isinstance(hint, TypeVar):
            hints[name] = getattr(cls, "originator_id_type", None) or Any
        else:
            hints[name] = Any if hint is inspect.Parameter.empty else hint
    return hints


def _plain(hints: Mapping[str, Any]) -> dict[str, frozenset[type]] | None:
    """Return the types of each attribute; None if one of them is not in `PLAIN`."""
    types = {
        name: frozenset(get_args(hint) if get_origin(hint) in UNIONS else [hint])
        for name, hint in hints.items()
    }
    return types if all(options <= PLAIN for options in types.values()) else None
