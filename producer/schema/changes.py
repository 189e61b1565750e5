"""Which changes of event types would break a reader of older or of newer events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from eventsourcing_kafka.producer.schema.document import (
    CLASS_VERSION,
    READS,
    Document,
    event_of,
    event_schemas,
)
from eventsourcing_kafka.producer.schema.meaning import Meaning, shown
from eventsourcing_kafka.producer.schema.values import Schema
from eventsourcing_kafka.producer.wire.state import CREATED

_FIRST_FORMAT = "1.0"


class Break(NamedTuple):
    """A changed event type, after which somebody can't read what somebody else has written."""

    event: str
    problem: str
    """What has changed, a sentence each."""
    advice: str

    def __str__(self) -> str:
        return f"{self.event}: {self.problem} {self.advice}"


def breaks(kept: Document, now: Document) -> list[Break]:
    """Return what would break readers who know the event types as they are in `kept`, or as now."""
    reads = {
        key: message[READS]
        for key, message in now["components"]["messages"].items()
        if READS in message
    }
    first_format = kept.get("info", {}).get("version") == _FIRST_FORMAT
    return [
        found
        for key, schema in event_schemas(kept).items()
        for found in _breaks_of(
            schema, event_schemas(now).get(event_of(key)), reads.get(event_of(key)), first_format
        )
    ]


def _breaks_of(
    older: Schema, newer: Schema | None, reads: Sequence[int] | None, first_format: bool
) -> Iterator[Break]:
    name, version = older["title"], older[CLASS_VERSION]
    if newer is None:
        yield Break(
            name,
            "there is no such event class any more, and its records stay in the topic.",
            "Keep the class, under this name, as long as anybody reads the topic: "
            "an event of a new name is a new event class beside it.",
        )
        return
    current = newer[CLASS_VERSION]
    if version == current:
        if problems := list(_Comparison(older, newer, first_format).problems()):
            yield Break(name, " ".join(problems), _leave_or_upcast(name, version))
    elif version > current:
        yield Break(
            name,
            f"class_version is {current}, and was {version} before.",
            f"Give it class_version = {version} again, or a higher one with an upcast.",
        )
    elif version not in (reads or [current]):
        first = min(reads or [current])
        yield Break(
            name,
            f"class_version is {current}, and events of version {version} can't be read.",
            f"Write a static method upcast_v{first - 1}_v{first}(state) that makes an event of "
            f"version {first} out of one of version {first - 1}.",
        )


def _leave_or_upcast(name: str, version: int) -> str:
    return (
        f"Leave it as it was, or make a new version of {name}: class_version = {version + 1}, and "
        f"a static method upcast_v{version}_v{version + 1}(state) that makes the new version out "
        "of the old one. (A new attribute with a default value needs no new version.)"
    )


class _Comparison:
    """Two schemas of one event type in one version: each must read what the other describes."""

    def __init__(self, older: Schema, newer: Schema, first_format: bool) -> None:
        self._older = older
        self._newer = newer
        self._first_format = first_format
        self._was = Meaning(older, first_format=first_format)
        self._is_now = Meaning(newer, first_format=first_format)

    def problems(self) -> Iterator[str]:
        return self._in_objects(self._older, self._newer, "")

    def _in_objects(self, older: Schema, newer: Schema, inside: str) -> Iterator[str]:
        were, are = older["properties"], newer["properties"]
        needed, needs = set(older.get("required", ())), set(newer.get("required", ()))
        for name in were | are:
            attribute = f"attribute {inside}{name!r}"
            if name not in are:
                yield f"{attribute} is gone, and older readers may need it."
            elif name not in were and name in needs:
                yield f"{attribute} is new without a default value, and older events have none."
            elif name in were and name in needs - needed:
                yield f"{attribute} has no default value any more, and older events may lack it."
            elif name in needed - needs:
                yield f"{attribute} has a default value now, and older readers need it always."
            elif name == CREATED and self._first_format:
                continue  # It said which class it is, which nobody who defines events can change.
            elif name in were:
                yield from self._in_attributes(attribute, were[name], are[name])

    def _in_attributes(self, attribute: str, was: Schema, is_now: Schema) -> Iterator[str]:
        if was.get("default") != is_now.get("default"):
            yield f"{attribute} has another default value, so that older events change."
        yield from self._in_values(attribute, self._was.of(was), self._is_now.of(is_now))

    def _in_values(self, attribute: str, was: Any, is_now: Any) -> Iterator[str]:
        match was, is_now:
            case {"properties": _}, {"properties": _}:
                yield from self._in_objects(was, is_now, f"{attribute.removeprefix('attribute ')}.")
            case dict(), dict() if was.keys() == is_now.keys():
                for key in was:
                    yield from self._in_values(attribute, was[key], is_now[key])
            case list(), list() if len(was) == len(is_now):
                for one, other in zip(was, is_now, strict=True):
                    yield from self._in_values(attribute, one, other)
            case _ if was != is_now:
                yield f"{attribute} takes other values: {shown(was)} before, {shown(is_now)} now."
