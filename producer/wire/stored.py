"""A shortcut from what the library has stored to what is published, without making the event.

Most events have attributes that are in JSON what they are in Python, and are stored by the
library's own mapper and transcoder. Then what is stored says all that is published, and it takes
a third of the time. Where anything is not known to be so, there is no shortcut, and the event is
made and written out, and what is wrong with it is found on that way.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, NamedTuple, Self
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
from isal import igzip as quicker_gzip

from producer.wire.events import EventType

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

    def restored(self) -> datetime | Self:
        time = datetime.fromisoformat(self.data)
        # JSON does not carry every other zone: that of another second, for one.
        return time if time.tzinfo is UTC else self


STORED = {_StoredID, _StoredTime}
DECODER = msgspec.json.Decoder(dict[str, str | int | bool | _StoredID | _StoredTime | None])


class Said(NamedTuple):
    """What a record says of an event, beside its place."""

    value: bytes
    timestamp: Any
    """When the event happened, if it is a `datetime`."""


class Shortcut:
    """Converts what one mapper has stored, of those events with which that can be done."""

    def __init__(self, decompress: Callable[[bytes], bytes]) -> None:
        self._decompress = decompress

    @classmethod
    def of(cls, mapper: Mapper[Any]) -> Self | None:
        """Return the shortcut past a mapper; None if it does anything of its own, or deciphers."""
        transcoder = mapper.transcoder
        if type(mapper) is not Mapper or type(transcoder) is not JSONTranscoder or mapper.cipher:
            return None
        for name, usual in USUAL_TRANSCODINGS.items():
            if type(transcoder.names.get(name)) is not usual:
                return None
        return cls(_decompressing(mapper.compressor))

    def said(self, notification: Notification, event_type: EventType) -> Said | None:
        """Return what there is to say of a notification; None where there is no shortcut."""
        plain = event_type.plain
        if plain is None:
            return None
        try:
            attributes: dict[str, Any] = DECODER.decode(self._decompress(notification.state))
            attributes["originator_id"] = notification.originator_id
            attributes["originator_version"] = notification.originator_version
            if len(attributes) != len(plain):
                return None
            for name, value in attributes.items():
                if type(value) in STORED:
                    attributes[name] = value.restored()
                if type(attributes[name]) not in plain[name]:
                    return None
        except Exception:  # noqa: BLE001 - what is wrong is found on the long way
            return None
        if "originator_topic" in attributes:
            if attributes["originator_topic"] != event_type.aggregate_topic:
                return None
            attributes["originator_topic"] = event_type.aggregate_name
        return Said(msgspec.json.encode(attributes), attributes.get("timestamp"))


def _decompressing(compressor: Compressor | ModuleType | None) -> Callable[[bytes], bytes]:
    if compressor is gzip:  # `COMPRESSOR_TOPIC` names the module.
        return quicker_gzip.decompress
    return compressor.decompress if compressor else bytes
