"""A record that the relay of this application has not written is refused, whatever is in it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.wire import (
    EventTypes,
    Record,
    UnknownEventTypeError,
    WireError,
    WireFormat,
)
from eventsourcing_kafka.producer.wire.event_types import published_name
from tests.language.languages import restored

from .conversation import APPLICATION, PAGE_ID, READER, WIKI, read, titled, written

Tampering = Callable[[Record], Record]

FORGED = [
    "os:system",
    "exploit",
    "exploit:Exploit",
    "exploit.Exploit",
    "exploit:",
    "Page.Created:x",
    "x" * 10_000,
]
"""Names of types that look as if something were to be imported."""

GOOD = written(titled())
CREATED = written(
    restored(
        WIKI.named("Page.Created"),
        **{**vars(titled()), "slug": "rose", "body": ""},
        originator_topic="eventsourcing_kafka.producer.contentmanagement.domainmodel:Page",
    )
)


def without(name: str) -> Tampering:
    return lambda record: record._replace(headers=[h for h in record.headers if h[0] != name])


def with_header(name: str, value: bytes | None) -> Tampering:
    return lambda record: record._replace(headers=[*without(name)(record).headers, (name, value)])  # type: ignore[list-item]


def doubled(name: str) -> Tampering:
    return lambda record: record._replace(
        headers=[*record.headers, (name, dict(record.headers)[name])]
    )


def with_key(key: bytes | None) -> Tampering:
    return lambda record: record._replace(key=key)  # type: ignore[arg-type]


def with_value(value: bytes | None) -> Tampering:
    return lambda record: record._replace(value=value)  # type: ignore[arg-type]


def with_attribute(name: str, value: object) -> Tampering:
    return lambda record: record._replace(
        value=json.dumps({**json.loads(record.value), name: value}).encode()
    )


def without_attribute(name: str) -> Tampering:
    def tamper(record: Record) -> Record:
        attributes = json.loads(record.value)
        del attributes[name]
        return record._replace(value=json.dumps(attributes).encode())

    return tamper


@pytest.mark.parametrize(
    ("tamper", "complaint"),
    [
        (without("ce_type"), "header 'ce_type' is missing"),
        (without("ce_subject"), "header 'ce_subject' is missing"),
        (without("ce_sequence"), "header 'ce_sequence' is missing"),
        (without("ce_position"), "header 'ce_position' is missing"),
        (without("ce_source"), "not from ContentManagement"),
        (doubled("ce_type"), "header 'ce_type' is there twice"),
        (doubled("ce_position"), "header 'ce_position' is there twice"),
        (with_header("ce_type", None), "malformed"),
        (with_header("ce_type", b"Page.SlugUpdated"), "not what is published of 'ce_storedtopic'"),
        (without("ce_storedtopic"), "header 'ce_storedtopic' is missing"),
        (with_header("ce_unwrapped", None), "malformed"),
        (with_header("ce_type", b"\xff"), "malformed"),
        (with_header("ce_subject", b"\xff"), "malformed"),
        (with_header("ce_sequence", b""), "malformed"),
        (with_header("ce_sequence", b"-1"), "malformed"),
        (with_header("ce_sequence", b"+1"), "malformed"),
        (with_header("ce_sequence", b"1_0"), "malformed"),
        (with_header("ce_sequence", b" 1"), "malformed"),
        (with_header("ce_sequence", b"1.0"), "malformed"),
        (with_header("ce_position", "٣".encode()), "malformed"),
        (with_header("ce_position", b"9" * 19), "malformed"),
        (with_header("ce_position", b"9" * 5000), "malformed"),
        (with_header("ce_position", None), "malformed"),
        (with_header("ce_classversion", b"two"), "malformed"),
        (with_header("ce_source", b"/Elsewhere"), "not from ContentManagement"),
        (with_key(b"another"), "key is not the header 'ce_subject'"),
        (with_key(None), "key is not the header 'ce_subject'"),
    ],
)
def test_headers_that_are_not_ours_are_refused(tamper: Tampering, complaint: str) -> None:
    record = tamper(GOOD)

    with pytest.raises(WireError, match=complaint):
        READER.envelope(record.key, record.headers)


@pytest.mark.parametrize(
    ("tamper", "complaint"),
    [
        (with_value(None), "tombstone"),
        (with_value(b""), "no JSON"),
        (with_value(GOOD.value[:-1]), "no JSON"),
        (with_value(GOOD.value + b"}"), "no JSON"),
        (with_value(b"\xff"), "no JSON"),
        (with_value(b"null"), "no JSON object"),
        (with_value(b"[]"), "no JSON object"),
        (with_value(b'{"unknown":' + b"[" * 100_000), "recursion"),
        (with_attribute("timestamp", "yesterday"), "Invalid isoformat"),
        (with_attribute("timestamp", None), "Failed to deserialise"),
        (without_attribute("timestamp"), "no attribute 'timestamp', which its headers name"),
        (with_header("ce_unwrapped", b'{"user_id":"uuid_hex"}'), "Failed to deserialise"),
        (with_header("ce_unwrapped", b'{"title":"nobodys"}'), "not deserializable"),
        (with_header("ce_unwrapped", b"[]"), "names no kinds"),
        (without_attribute("originator_id"), "contradicts the headers"),
        (with_attribute("originator_version", "7"), "contradicts the headers"),
        (with_attribute("originator_version", 7.0), "contradicts the headers"),
        (with_attribute("originator_version", 8), "contradicts the headers"),
        (with_attribute("originator_id", str(PAGE_ID).replace("6", "7")), "contradicts"),
        (with_header("ce_sequence", b"8"), "contradicts the headers"),
    ],
)
def test_a_value_that_is_not_the_event_is_refused(tamper: Tampering, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        read(tamper(GOOD))


@pytest.mark.parametrize(
    "forged",
    [
        "os:system",
        "antigravity:geohash",
        "eventsourcing_kafka.producer.contentmanagement.domainmodel:Page.Created",
        "Slug",
        "",
    ],
)
def test_a_record_never_decides_which_class_is_made(forged: str) -> None:
    with pytest.raises(WireError, match="which is not registered"):
        read(with_header("ce_originatortopic", forged.encode())(CREATED))


@pytest.mark.parametrize("forged", ["Slug", "os:system", ""])
def test_the_aggregate_that_is_named_for_other_languages_is_not_read(forged: str) -> None:
    assert vars(read(with_attribute("originator_topic", forged)(CREATED))) == vars(read(CREATED))


def test_a_created_event_names_its_aggregate_for_readers_of_any_language() -> None:
    assert json.loads(CREATED.value)["originator_topic"] == "Page"


def test_an_attribute_that_a_newer_writer_added_is_there_as_in_the_library() -> None:
    assert vars(read(with_attribute("mood", "good")(GOOD))) == {**vars(titled()), "mood": "good"}


def test_an_attribute_that_is_missing_is_missing_as_in_the_library() -> None:
    assert "title" not in vars(read(without_attribute("title")(GOOD)))


@pytest.mark.parametrize("value", [1, None, 2.5, True, ["a rose"], {"a": "rose"}])
def test_an_attribute_of_another_type_is_what_it_is_as_in_the_library(value: object) -> None:
    assert vars(read(with_attribute("title", value)(GOOD)))["title"] == value


def named(name: str) -> Record:
    """Return a record that names another type, as one whose topic has no colon does."""
    return with_header("ce_type", name.encode())(with_header("ce_storedtopic", name.encode())(GOOD))


@pytest.mark.parametrize("name", ["Page.Burnt", "", "Page" * 1000])
def test_an_unknown_type_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownEventTypeError) as refused:
        read(named(name))

    assert repr(name[:80]) in str(refused.value)
    assert "Page.BodyUpdated" in str(refused.value)
    assert len(str(refused.value)) < 700


def stored_under(topic: str) -> Record:
    return with_header("ce_storedtopic", topic.encode())(GOOD)


@pytest.mark.parametrize("name", FORGED)
def test_no_name_of_a_type_has_anything_imported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exploit.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(UnknownEventTypeError):
        read(with_header("ce_type", published_name(name).encode())(stored_under(name)))

    assert "exploit" not in sys.modules


def test_a_reader_without_types_says_that_it_knows_none() -> None:
    with pytest.raises(UnknownEventTypeError, match="Known are: none"):
        read(GOOD, WireFormat(APPLICATION, EventTypes()))


def test_an_unknown_type_is_refused_before_its_value_is_looked_at() -> None:
    with pytest.raises(UnknownEventTypeError):
        read(GOOD._replace(value=b"\xff"), WireFormat(APPLICATION, EventTypes.of(Page.SlugUpdated)))


ADDED = ["ce_classversion", "ce_encrypted", "ce_originatortopic"]
NAMES = st.sampled_from([name for name, _ in GOOD.headers] + ADDED)
BYTES = st.none() | st.binary(max_size=30) | st.integers().map(lambda n: str(n).encode())


@given(NAMES, BYTES)
def test_any_header_gives_an_event_or_a_wire_error(name: str, value: bytes | None) -> None:
    try:
        again = read(with_header(name, value)(GOOD))
    except WireError:
        return
    assert type(again) is type(titled())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(json.loads(CREATED.value))), JSON)
def test_any_attribute_gives_an_event_or_a_wire_error(name: str, value: object) -> None:
    try:
        again = read(with_attribute(name, value)(CREATED))
    except WireError:
        return
    assert type(again) is Page.Created


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_value_is_a_wire_error(value: bytes) -> None:
    with pytest.raises(WireError):
        read(with_value(value)(GOOD))
