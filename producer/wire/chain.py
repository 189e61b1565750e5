"""The chain: each record names the one before it in its partition.

A position alone can't tell that a Kafka transaction was torn, that a topic was made anew, that a
broker lost its tail or that a database was restored: other events have the same positions then. So
each record carries its own link, and that of its predecessor. Whoever appends finds the end of the
chain first, and whoever reads checks each link; what does not follow is never passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from eventsourcing.persistence import StoredEvent
from xxhash import xxh3_64_hexdigest

from eventsourcing_kafka.producer.wire.tags import TaggedNotification, tags_as_text

LARGEST_POSITION = 2**63 - 1
IDENTITY_CHARACTERS = 16
"""Hexadecimal digits of an identity. It tells apart two events of one position, no more."""


class Link(NamedTuple):
    """Which record it is: its position, and its identity."""

    position: int
    identity: str

    @property
    def text(self) -> str:
        """It, as `ce_predecessor` has it: `41:9f86d081884c7d65`, or `0` before the first record."""
        return f"{self.position}:{self.identity}" if self.position else "0"


START = Link(0, "")
"""The predecessor of a partition's first record."""


class Chain:
    """The ends of an application's partitions, while records are appended to them."""

    def __init__(self, ends: Iterable[Link]) -> None:
        self._ends = [(end.position, end.text.encode()) for end in ends]

    def append(self, partition: int, record: Linkable) -> bool:
        """Name a record's predecessor in its headers; False if its partition has it already."""
        position, predecessor = self._ends[partition]
        if record.position <= position:
            return False
        record.headers.append(("ce_predecessor", predecessor))
        self._ends[partition] = record.position, b"%d:%b" % (record.position, record.identity)
        return True


class Linkable(Protocol):
    """What is appended to a chain."""

    @property
    def position(self) -> int:
        """Its position."""

    @property
    def identity(self) -> bytes:
        """Its identity."""

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """Its headers, which its predecessor is added to."""


def identity_of(stored: StoredEvent) -> bytes:
    """Return a short digest of what is stored for an event.

    Ciphertext and compressed states differ each time that they are made, and so do the identities
    of events that were stored anew; what is copied, dumped or restored keeps its own.
    """
    if isinstance(stored, TaggedNotification):
        return digest(tags_as_text(tuple(stored.tags)), stored.topic.encode(), bytes(stored.state))
    return digest(
        b"%b:%d" % (str(stored.originator_id).encode(), stored.originator_version),
        stored.topic.encode(),
        stored.state,
    )


def digest(event_id: bytes, topic: bytes, state: bytes) -> bytes:
    """Return the identity of an event: 64 bits of XXH3, in hexadecimal digits."""
    return xxh3_64_hexdigest(b"%b %b %b" % (event_id, topic, state)).encode()


def link_in(text: str) -> Link:
    """Read a link as `ce_predecessor` has it. Raises `ValueError` if it is none."""
    if text == START.text:
        return START
    position, _, identity = text.partition(":")
    link = Link(int(position) if position.isascii() and position.isdigit() else 0, identity)
    if link.text != text or link.position > LARGEST_POSITION:
        raise ValueError(f"{text[:60]!r} names no record")
    return Link(link.position, identity_in(identity.encode()))


def identity_in(text: bytes) -> str:
    """Read an identity as a header has it. Raises `ValueError` if it is none."""
    if not text.isalnum() or len(text) != IDENTITY_CHARACTERS:
        raise ValueError(f"{text[:60]!r} is no identity")
    return text.decode("ascii")
