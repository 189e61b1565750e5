"""From what is published of an event to the event, by the library's own code.

The published value is turned back into the state that is stored, and of that a mapper makes the
event: with the application's transcodings, upcasts and aliases. The fast path comes to the same, in
a part of the time: it is taken where the mapper and its transcodings are the library's own, the
event was stored by the class version of now, and no attribute has others in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.persistence import (
    DatetimeAsISO,
    DecimalAsStr,
    JSONTranscoder,
    StoredEvent,
    Transcoder,
    UUIDAsHex,
)
from eventsourcing.persistence import Mapper as LibraryMapper

from eventsourcing_kafka.producer.wire.envelope import Envelope
from eventsourcing_kafka.producer.wire.event_types import (
    Event,
    EventType,
    EventTypes,
    OutdatedError,
    WireError,
)
from eventsourcing_kafka.producer.wire.state import (
    CLASS_VERSION,
    CREATED,
    DATETIME_ISO,
    DECIMAL_STR,
    ID,
    MOST_PATTERNS,
    UUID_HEX,
    VERSION,
    Scalar,
    StateError,
    kinds_in,
    restore,
    state_of,
)

Mapper = LibraryMapper[Any]

USUAL = (UUIDAsHex, DecimalAsStr, DatetimeAsISO)
"""The transcodings that the library's applications have of themselves."""

FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    UUID_HEX: lambda text: msgspec.convert(text, UUID),  # It takes a tenth of UUID()'s time.
    DATETIME_ISO: datetime.fromisoformat,
    DECIMAL_STR: Decimal,
}
"""What makes a value of what is published of it."""

_decode_flat = msgspec.json.Decoder(dict[str, Scalar]).decode


def usual_mapper() -> Mapper:
    """Return the mapper of an application that has no transcodings of its own, and no secrets."""
    transcoder = JSONTranscoder()
    for transcoding in USUAL:
        transcoder.register(transcoding())
    return LibraryMapper(transcoder)


def stored_state(envelope: Envelope, value: bytes) -> bytes:
    """Return the state that a value is published of; uncompressed, if it is published as JSON.

    Raises `StateError` if it is not the value of this event, or of no event.
    """
    if not envelope.is_json:
        return value
    tree = restore(value, envelope.kinds, envelope.class_version, envelope.aggregate_topic)
    place = tree.pop(ID, None), tree.pop(VERSION, None)
    if place != (envelope.originator_id, envelope.version) or type(place[1]) is not int:
        raise StateError("it contradicts the headers: another event, or another version")
    return state_of(tree)


def _checking(transcoder: Transcoder, event_type: EventType) -> Transcoder:
    """Return a transcoder that refuses what a later version of a class has stored.

    Of what is in no header that can be said only once it is decrypted.
    """
    checking, decode = copy(transcoder), transcoder.decode

    def decode_checked(data: bytes) -> Any:
        state = decode(data)
        version = state.get(CLASS_VERSION) if isinstance(state, dict) else None
        if isinstance(version, int):
            event_type.check_version(version)
        return state

    vars(checking)["decode"] = decode_checked
    return checking


class EventDecoder:
    """Makes events of what is published of them, with the application's own mapper."""

    def __init__(self, types: EventTypes, mapper: Mapper | None) -> None:
        self._types = types
        self._mapper = mapper or usual_mapper()
        self._of_json = copy(self._mapper)
        self._of_json.compressor = self._of_json.cipher = None
        self._of_bytes: dict[EventType, Mapper] = {}
        self._is_usual = _is_usual(self._mapper)

    def decoded(self, event_type: EventType, envelope: Envelope, value: bytes) -> Event:
        """Return the event. Raises whatever comes of a state that is not of this class."""
        if envelope.encrypted and self._mapper.cipher is None:
            raise WireError(
                f"{event_type.name} is encrypted, and this reader has no key: "
                "set CIPHER_TOPIC and CIPHER_KEY as the application has them."
            )
        attributes = self._is_usual and _fast(event_type, envelope, value)
        if attributes:
            event: Event = object.__new__(event_type.cls)
            # The library restores stored events the same way: frozen dataclasses, no __init__.
            object.__setattr__(event, "__dict__", attributes)
        else:
            mapper = self._of_json if envelope.is_json else self._mapper_of(event_type)
            event = mapper.to_domain_event(
                StoredEvent(
                    originator_id=event_type.originator_id(envelope.originator_id),
                    originator_version=envelope.version,
                    topic=envelope.topic,
                    state=stored_state(envelope, value),
                )
            )
        if event_type.is_creation:
            self._check_created(event_type, event)
        return event

    def _mapper_of(self, event_type: EventType) -> Mapper:
        """Return the mapper, which refuses what a later version of a class has stored."""
        if event_type not in self._of_bytes:
            self._of_bytes[event_type] = mapper = copy(self._mapper)
            mapper.transcoder = _checking(self._mapper.transcoder, event_type)
        return self._of_bytes[event_type]

    def _check_created(self, event_type: EventType, event: Event) -> None:
        """Have an event that begins an aggregate name a known one: the library will import it."""
        created = vars(event).get(CREATED)
        if created is not None and not self._types.knows_aggregate(created):
            raise OutdatedError(
                f"A {event_type.name} creates {created!r}, which is not registered: update this "
                "program, or register that name with the library's register_topic()."
            )


def _fast(event_type: EventType, envelope: Envelope, value: bytes) -> dict[str, Any] | None:
    """Return the attributes of an event; None if that takes the library's mapper."""
    converters = _converters(envelope.kinds)
    if converters is None or not envelope.is_json or envelope.class_version != event_type.version:
        return None
    try:
        attributes: dict[str, Any] = _decode_flat(value)
        for name, convert in converters:
            attributes[name] = convert(attributes[name])
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return None  # What is wrong is found without the fast path.
    if attributes.get(ID) != envelope.originator_id or CLASS_VERSION in attributes:
        return None
    version = attributes.get(VERSION)
    if version != envelope.version or type(version) is not int:
        return None
    if type(attributes.get(CREATED)) is str:
        attributes[CREATED] = envelope.aggregate_topic
    attributes[ID] = event_type.originator_id(envelope.originator_id)
    attributes[VERSION] = envelope.version
    return attributes


@lru_cache(MOST_PATTERNS)
def _converters(kinds: bytes) -> Sequence[tuple[str, Callable[[str], Any]]] | None:
    """Return what makes values of attributes, by name; None if one is not of the usual kinds."""
    named = [
        (name, FROM_TEXT.get(kind) if isinstance(kind, str) else None)
        for name, kind in kinds_in(kinds).items()
    ]
    usual = [(name, convert) for name, convert in named if convert and name != CREATED]
    return usual if len(usual) == len(named) else None


def _is_usual(mapper: Mapper) -> bool:
    transcoder = mapper.transcoder
    return (
        type(mapper) is LibraryMapper
        and type(transcoder) is JSONTranscoder
        and all(type(transcoder.names.get(usual.name)) is usual for usual in USUAL)
    )
