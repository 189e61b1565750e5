"""What is stored of a tagged decision: an event that has tags, and no aggregate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec
from eventsourcing.dcb.api import DCBEvent
from eventsourcing.persistence import Notification

MOST_HEADERS = 10_000
"""Headers of tags that are kept, made or read: of an object that has many events, they are one."""


@dataclass(frozen=True)
class TaggedNotification(Notification):
    """A tagged decision, and its place in the application's sequence.

    Its topic is what the library calls its type, and its state its data. It has no aggregate, so
    it has neither an ID of one nor a place in there.
    """

    tags: Sequence[str] = ()

    @classmethod
    def of(cls, position: int, event: DCBEvent) -> TaggedNotification:
        """Return what is stored at a position."""
        return stored_as(event.tags, event.type, event.data, position)

    @property
    def event(self) -> DCBEvent:
        """It, as the library has it."""
        return DCBEvent(self.topic, self.state, list(self.tags))


def stored_as(tags: Sequence[str], type_: str, data: bytes, position: int) -> TaggedNotification:
    """Return what is stored at a position, by what is stored for it."""
    return TaggedNotification(
        originator_id="",
        originator_version=0,
        topic=type_,
        state=data,
        id=position,
        tags=tuple(tags),
    )


@lru_cache(MOST_HEADERS)
def tags_as_text(tags: tuple[str, ...]) -> bytes:
    """Return tags as a header has them: a JSON list, in ASCII."""
    return json.dumps(tags, separators=(",", ":")).encode()


@lru_cache(MOST_HEADERS)
def tags_in(text: bytes) -> tuple[str, ...]:
    """Read tags as a header has them. Raises `ValueError` if it has none."""
    tags: tuple[str, ...] = msgspec.convert(json.loads(text.decode()), tuple[str, ...])
    if tags_as_text(tags) != text:
        raise ValueError(f"{text[:60]!r} are no tags")
    return tags
