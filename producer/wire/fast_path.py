"""The fast path from a stored event to its published JSON: no event object is made.

Most events have attributes that are the same in JSON as in Python, and are stored by the library's
own mapper and transcoder. Then the stored JSON has all that is published, and converting it takes a
third of the time. Where anything is not known to be so, the fast path is not taken: the event is
made by the mapper and encoded by its `EventType`, and that finds and names whatever is wrong.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, NamedTuple, Self, Union
from uuid import UUID

import msgspec
from eventsourcing.persistence import (
    Compressor,
    DatetimeAsISO,
    JSONTranscoder,
    Mapper,
    Notification,
    UUIDAsHex,
)
from isal import isal_zlib

from eventsourcing_kafka.producer.wire.event_types import EventType

GZIP = 16 + 15
"""How zlib's `wbits` says that there is a gzip header; the window is the largest."""

_encode = msgspec.json.Encoder().encode

USUAL_TRANSCODINGS = {UUIDAsHex.name: UUIDAsHex, DatetimeAsISO.name: DatetimeAsISO}


class _StoredID(
    msgspec.Struct,
    frozen=True,
    gc=False,
    tag_field="_type_",
    tag=UUIDAsHex.name,
    forbid_unknown_fields=True,
):
    data: UUID = msgspec.field(name="_data_")

    def restored(self) -> UUID:
        return self.data


class _StoredTime(
    msgspec.Struct,
    frozen=True,
    gc=False,
    tag_field="_type_",
    tag=DatetimeAsISO.name,
    forbid_unknown_fields=True,
):
    data: str = msgspec.field(name="_data_")

    def restored(self) -> datetime | None:
        time = datetime.fromisoformat(self.data)
        # JSON does not carry every other zone: that of another second, for one.
        return time if time.tzinfo is UTC else None


STORED: dict[type, type] = {UUID: _StoredID, datetime: _StoredTime}
"""How the library stores the types that JSON does not have."""
STORED_AS = frozenset(STORED.values())

PLACE = ("originator_id", "originator_version")
"""The attributes that are stored in columns of their own, not in the state."""


class EncodedEvent(NamedTuple):
    """The value of a record, and when its event happened."""

    value: bytes
    """The JSON of the event's attributes."""
    timestamp: Any
    """The attribute of this name, of any type; None if the event has none."""


class StoredDecoder:
    """Decodes what one mapper has stored of the events of one type, and encodes it as published.

    `plain` has the types of each attribute. msgspec checks that the stored attributes are of them,
    in C.
    """

    def __init__(
        self,
        event_type: EventType,
        plain: Mapping[str, Collection[type]],
        decompress: Callable[[bytes], bytes],
    ) -> None:
        self._decompress = decompress
        self._id_types = plain["originator_id"]
        self._creates = event_type.names_aggregate
        self._aggregate_topic = event_type.aggregate_topic
        self._aggregate_name = event_type.aggregate_name
        in_state = {name: types for name, types in plain.items() if name not in PLACE}
        self._stored = [name for name, types in in_state.items() if STORED.keys() & set(types)]
        fields = [(name, _either(types)) for name, types in in_state.items()]
        state = msgspec.defstruct(
            "State",
            [*fields, *((name, Any, None) for name in PLACE)],
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(state).decode

    def encoded(self, notification: Notification) -> EncodedEvent | None:
        """Return the published JSON of a notification; None if it is not stored as expected."""
        try:
            return self._encoded(notification)
        except Exception:  # noqa: BLE001 - what is wrong is found without the fast path
            return None

    def _encoded(self, notification: Notification) -> EncodedEvent | None:
        state: Any = self._decode(self._decompress(notification.state))
        for name in self._stored:
            value = getattr(state, name)
            if type(value) in STORED_AS:
                restored = value.restored()
                if restored is None:
                    return None
                setattr(state, name, restored)
        if self._creates:
            if state.originator_topic != self._aggregate_topic:
                return None
            state.originator_topic = self._aggregate_name
        if type(notification.originator_id) not in self._id_types:
            return None
        state.originator_id = notification.originator_id
        state.originator_version = notification.originator_version
        return EncodedEvent(_encode(state), getattr(state, "timestamp", None))


class FastPath:
    """Makes the decoders for what one mapper has stored, for the event types that allow it."""

    def __init__(self, decompress: Callable[[bytes], bytes]) -> None:
        self._decompress = decompress

    @classmethod
    def of(cls, mapper: Mapper[Any]) -> Self | None:
        """Return the fast path for a mapper; None if it is not the library's own, or encrypts."""
        transcoder = mapper.transcoder
        if type(mapper) is not Mapper or type(transcoder) is not JSONTranscoder or mapper.cipher:
            return None
        for name, usual in USUAL_TRANSCODINGS.items():
            if type(transcoder.names.get(name)) is not usual:
                return None
        return cls(_decompressing(mapper.compressor))

    def decoder(self, event_type: EventType) -> StoredDecoder | None:
        """Return the decoder for a type; None if it has attributes that are not plain."""
        plain = event_type.plain
        if plain is None or not plain.keys() >= set(PLACE):
            return None
        return StoredDecoder(event_type, plain, self._decompress)


def _either(types: Collection[type]) -> Any:
    """Return the type of what is stored of an attribute that may have any of some types."""
    return Union[tuple(STORED.get(each, each) for each in types)]  # noqa: UP007


def _decompressing(compressor: Compressor | ModuleType | None) -> Callable[[bytes], bytes]:
    if compressor is gzip:  # `COMPRESSOR_TOPIC` names the module.
        return _gunzip
    return compressor.decompress if compressor else bytes


def _gunzip(state: bytes) -> bytes:
    """Decompress what one call of `gzip.compress` has made. Raises `ValueError` for more, or less.

    It takes half the time of Python's own, most of which is spent in reading.
    """
    decompressor = isal_zlib.decompressobj(GZIP)
    decompressed = decompressor.decompress(state)
    if decompressor.unused_data or not decompressor.eof:
        raise ValueError("It has more than one member, or less.")
    return decompressed
