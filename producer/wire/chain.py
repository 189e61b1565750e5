"""The chain: each record names the one before it in its partition.

A position alone can't tell that a Kafka transaction was torn, that a topic was made anew, that a
broker lost its tail or that a database was restored: other events have the same positions then. So
each record carries its own link, and that of its predecessor. Whoever appends finds the end of the
chain first, and whoever reads checks each link; what does not follow is never passed over.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from eventsourcing.persistence import StoredEvent

IDENTITY_CHARACTERS = 16
"""Hexadecimal digits of an identity. It tells apart two events of one position, no more."""


class Link(NamedTuple):
    """Which record it is: its position, and its identity."""

    position: int
    identity: str

    def to_text(self) -> bytes:
        """Return it as the header `ce_predecessor` has it: `41:9f86d081884c7d65`, `0` at first."""
        return b"%d:%b" % (self.position, self.identity.encode()) if self.position else b"0"


START = Link(0, "")
"""The predecessor of a partition's first record."""


def identity_of(stored: StoredEvent) -> str:
    """Return a short digest of what is stored for an event.

    Ciphertext and compressed states differ each time that they are made, and so do the identities
    of events that were stored anew; what is copied, dumped or restored keeps its own.
    """
    what = b"%b %d %b " % (
        str(stored.originator_id).encode(),
        stored.originator_version,
        stored.topic.encode(),
    )
    return sha256(what + stored.state).hexdigest()[:IDENTITY_CHARACTERS]


def link_of(text: bytes) -> Link:
    """Read a link as a header has it. Raises `ValueError` if it is none."""
    position, colon, identity = text.partition(b":")
    if text == b"0":
        return START
    if not colon or not position.isdigit() or position.startswith(b"0") or len(position) > 19:
        raise ValueError(f"{text[:60]!r} names no record")
    return Link(int(position), identity_in(identity))


def identity_in(text: bytes) -> str:
    """Read an identity as a header has it. Raises `ValueError` if it is none."""
    if len(text) != IDENTITY_CHARACTERS or not text.isalnum():
        raise ValueError(f"{text[:60]!r} is no identity")
    return text.decode("ascii")
