"""Records that no view can apply, of every kind, made from a good one."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page

KIB_900 = 900 * 1024
WORDS = " ".join(f"word{number:x}" for number in range(100_000))[:KIB_900]
"""Too many different ones for any index of Postgres."""


class Raw(NamedTuple):
    """What anybody may write to a topic."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, Any]]


class Event(NamedTuple):
    """What a good record says."""

    originator_id: UUID
    version: int
    position: int
    attributes: dict[str, Any]
    type: str = "Page.BodyUpdated"


def record_of(event: Event) -> Raw:
    """Return what the relay would write for an event of a page."""
    key = str(event.originator_id).encode()
    attributes = {
        "originator_id": event.originator_id,
        "originator_version": event.version,
        "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
        "user_id": None,
        **event.attributes,
    }
    headers: list[tuple[str, Any]] = [
        ("ce_specversion", b"1.0"),
        ("ce_type", event.type.encode()),
        ("ce_source", b"/ContentManagement"),
        ("ce_storedtopic", f"{Page.__module__}:{event.type}".encode()),
        ("ce_unwrapped", b'{"timestamp":"datetime_iso"}'),
        ("content-type", b"application/json"),
        ("ce_subject", key),
        ("ce_sequence", b"%d" % event.version),
        ("ce_position", b"%d" % event.position),
        ("ce_identity", b"%016x" % event.position),
    ]
    return Raw(key, msgspec.json.encode(attributes), headers)


Tamper = Callable[[Event], Raw]


@dataclass(frozen=True)
class Poison:
    """One kind, and what is said of it when it is parked."""

    name: str
    tamper: Tamper
    reason: str
    of_page: bool = True
    """It is an event of the page, so that what comes after it of the page is behind it. What is
    foreign is of none, whatever its key."""


def _value(value: bytes | None) -> Tamper:
    return lambda event: record_of(event)._replace(value=value)


def _attributes(type_name: str = "Page.BodyUpdated", **attributes: Any) -> Tamper:
    return lambda event: record_of(event._replace(type=type_name, attributes=attributes))


def _json(old: bytes, new: bytes) -> Tamper:
    def tamper(event: Event) -> Raw:
        raw = record_of(event)
        assert raw.value is not None
        assert old in raw.value
        return raw._replace(value=raw.value.replace(old, new))

    return tamper


def _version(version: int) -> Tamper:
    return lambda event: record_of(event._replace(version=version))


def _headers(change: Callable[[dict[str, bytes | None]], Any]) -> Tamper:
    def tamper(event: Event) -> Raw:
        raw = record_of(event)
        headers = dict(raw.headers)
        change(headers)
        return raw._replace(headers=list(headers.items()))

    return tamper


def _header(name: str, value: bytes | None) -> Tamper:
    return _headers(lambda headers: headers.update({name: value}))


def _twice(event: Event) -> Raw:
    raw = record_of(event)
    return raw._replace(headers=[*raw.headers, ("ce_type", b"Page.TitleUpdated")])


def _foreign(*headers: tuple[str, bytes | None]) -> Tamper:
    return lambda event: record_of(event)._replace(headers=list(headers))


def _with_key(key: bytes | None) -> Tamper:
    def tamper(event: Event) -> Raw:
        raw = record_of(event)._replace(key=key)
        return raw._replace(headers=[*raw.headers, ("ce_predecessor", b"0")])

    return tamper


ELSEWHERE = {"ce_source": b"/Elsewhere", "ce_predecessor": b"0"}

VANISHED = {"ce_type": b"Page.Vanished", "ce_predecessor": b"0"}
A_NUL = {"ce_type": b"Page\0Created", "ce_predecessor": b"0"}

POISONS = [
    Poison("not JSON", _value(b"\x00\xff not JSON"), "The value is not a Page.BodyUpdated"),
    Poison("JSON of another shape", _value(b"[1, 2]"), "The value is not a Page.BodyUpdated"),
    Poison("JSON without an end", _value(b"[" * 100_000), "The value is not a Page.BodyUpdated"),
    Poison("an attribute missing", _json(b'"diff"', b'"difference"'), "no attribute 'diff'"),
    Poison("an attribute of another type", _attributes(diff=7), "'int' object has no attribute"),
    Poison(
        "another type",
        _headers(lambda h: h.update(VANISHED)),
        "'ce_type' is not what",
        of_page=False,
    ),
    Poison(
        "a type with a NUL",
        _headers(lambda h: h.update(A_NUL)),
        "'ce_type' is not what",
        of_page=False,
    ),
    Poison(
        "a type that is no text",
        _header("ce_type", b"\xff\xfe"),
        "A header is malformed",
        of_page=False,
    ),
    Poison("a version that was there", _version(2), "OutOfOrderError: .* is version 2"),
    Poison("a version after a hole", _version(9), "OutOfOrderError: .* is version 9"),
    Poison(
        "a class version that never was",
        _header("ce_classversion", b"0"),
        "malformed",
        of_page=False,
    ),
    Poison("a diff that does not fit", _attributes(diff="5d4\n< five\n"), "DiffError"),
    Poison("a diff that is none", _attributes(diff="anything"), "DiffError"),
    Poison(
        "a header missing",
        _headers(lambda h: h.pop("ce_position")),
        "'ce_position' is missing",
        of_page=False,
    ),
    Poison("a header doubled", _twice, "'ce_type' is there twice", of_page=False),
    Poison(
        "a header without a value",
        _header("ce_sequence", None),
        "A header is malformed",
        of_page=False,
    ),
    Poison(
        "no header with a value",
        _headers(lambda h: h.update(dict.fromkeys(h))),
        "malformed",
        of_page=False,
    ),
    Poison(
        "a position too large",
        _header("ce_position", b"9" * 20),
        "not a natural number",
        of_page=False,
    ),
    Poison("a foreign producer", _foreign(), "'ce_type' is missing", of_page=False),
    Poison(
        "a foreign producer's NUL", _foreign(("a\0b", b"\0")), "'ce_type' is missing", of_page=False
    ),
    Poison(
        "another application",
        _headers(lambda h: h.update(ELSEWHERE)),
        "not from Content",
        of_page=False,
    ),
    Poison(
        "another aggregate's value", _attributes(diff="", originator_id=UUID(int=1)), "contradicts"
    ),
    Poison("encrypted", _header("ce_encrypted", b"true"), "this reader has no key"),
    Poison(
        "no identity",
        _headers(lambda h: h.pop("ce_identity")),
        "'ce_identity' is missing",
        of_page=False,
    ),
    Poison(
        "no identity but words",
        _header("ce_identity", b"who knows"),
        "is no identity",
        of_page=False,
    ),
    Poison("a tombstone", _value(None), "a tombstone"),
    Poison("900 KB of anything", _value(b"x" * KIB_900), "The value is not a Page.BodyUpdated"),
    Poison(
        "900 KB of a title",
        _attributes("Page.TitleUpdated", title=WORDS),
        "ProgramLimitExceeded",
    ),
    Poison("a NUL in the text", _attributes("Page.TitleUpdated", title="a\0b"), "DataError"),
    Poison("a lone surrogate", _json(b'"diff":"', b'"diff":"\\ud800 '), "surrogates not allowed"),
    Poison("no key", _with_key(None), "The key is not the header", of_page=False),
    Poison("a NUL in the key", _with_key(b"\0\0"), "The key is not the header", of_page=False),
    Poison("a key that is no text", _with_key(b"\xff"), "The key is not the header", of_page=False),
    Poison("a key of 9 KB", _with_key(Random(7).randbytes(9000)), "The key", of_page=False),
]
