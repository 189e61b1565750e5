"""What the headers of a record say of its event."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from eventsourcing_kafka.producer.wire.chain import Link, identity_in
from eventsourcing_kafka.producer.wire.event_types import WireError, published_name
from eventsourcing_kafka.producer.wire.state import usual_aggregate

LARGEST_NUMBER = 2**63 - 1
MAX_DIGITS = len(str(LARGEST_NUMBER))

JSON = b"application/json"
BYTES = b"application/octet-stream"

Headers = list[tuple[str, bytes]]

MOST_TOPICS = 1000
"""Stored topics that are remembered. An application has some; who makes up more slows us a bit."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the headers of a record say of its event, before the event itself is decoded."""

    type: str
    """What its events are called for all languages."""
    topic: str
    """What they are stored under."""
    originator_id: str
    version: int
    """The place of the event in its aggregate's sequence: `originator_version`."""
    position: int
    """The place of the event in its application's sequence: `notification_id`."""
    class_version: int
    """The version of its class that it was stored by; 1 if only the application can tell."""
    encrypted: bool
    is_json: bool
    """Whether the value is the stored state as JSON; else it is the very bytes that are stored."""
    kinds: bytes
    """JSON of the attributes that are published without their wrappers, and what they were."""
    created: str | None
    """The topic of the aggregate that the event creates, where that is not the usual one."""
    identity: str
    """What tells it from another event at the same position."""
    predecessor: str
    """The link of the record before it in its partition, as text: to be compared, not to be read.
    """
    tags: tuple[str, ...] = ()
    """Of a tagged decision, which has no aggregate."""
    of_the_whole: bool = False
    """Whether it is ordered with all events of its application, and not those of one aggregate, or
    tag. Its `originator_id` is the application's name then."""

    @property
    def aggregate_topic(self) -> str:
        """The topic of the aggregate that the event creates, if it creates one."""
        return usual_aggregate(self.topic) if self.created is None else self.created

    @property
    def link(self) -> Link:
        """Which record it is in the chain."""
        return Link(self.position, self.identity)


def envelope_in(headers: Sequence[tuple[str, bytes]], key: bytes | None, source: bytes) -> Envelope:
    """Read the headers of a record of the application that has `source`.

    Raises `WireError` when one is missing, doubled or malformed, or contradicts the key: the
    record was not written by the relay of this application.
    """
    named = dict(headers)
    if len(named) != len(headers):
        raise WireError(f"The header {doubled(headers)!r} is there twice.")
    try:
        type_name = named["ce_type"]
        topic, name, name_as_bytes = stored_under(named["ce_storedtopic"])
        is_its_name = type_name == name_as_bytes or type_name.decode() == name
        envelope = Envelope(
            name,
            topic,
            named["ce_subject"].decode(),
            natural_number(named["ce_sequence"]),
            natural_number(named["ce_position"]),
            _class_version(named["ce_classversion"]) if "ce_classversion" in named else 1,
            "ce_encrypted" in named,
            named["content-type"] == JSON,
            bytes(named.get("ce_unwrapped", b"")),
            named["ce_originatortopic"].decode() if "ce_originatortopic" in named else None,
            identity_in(named["ce_identity"]),
            named["ce_predecessor"].decode(),
        )
    except KeyError as error:
        raise WireError(f"The header {error} is missing.") from None
    except (UnicodeDecodeError, ValueError, AttributeError, TypeError) as error:
        raise WireError(f"A header is malformed: {error}") from None
    if named.get("ce_source") != source:
        raise WireError(f"The record is not from {source.decode()[1:]}.")
    if key != named["ce_subject"]:
        raise WireError("The key is not the header 'ce_subject'.")
    if not is_its_name:
        raise WireError("The header 'ce_type' is not what is published of 'ce_storedtopic'.")
    return envelope


@lru_cache(MOST_TOPICS)
def stored_under(topic: bytes) -> tuple[str, str, bytes]:
    """Return a stored topic as text, and what is published of it, as text and as bytes."""
    text = topic.decode()
    name = published_name(text)
    return text, name, name.encode()


def natural_number(text: bytes) -> int:
    """Read a number as a header has it. Raises `ValueError` if it is none."""
    # int() alone would take "+1", " 1 " and "1_0".
    if text.isdigit() and len(text) <= MAX_DIGITS and (number := int(text)) <= LARGEST_NUMBER:
        return number
    raise ValueError(f"{text[:40]!r} is not a natural number")


def _class_version(text: bytes) -> int:
    if version := natural_number(text):
        return version
    raise ValueError("0 is no class version")


def doubled(headers: Sequence[tuple[str, bytes]]) -> str:
    """Return the name of a header that is there twice."""
    names = [name for name, _ in headers]
    return next(name for name in names if names.count(name) > 1)
