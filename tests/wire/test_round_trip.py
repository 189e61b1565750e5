"""One notification becomes one record, and the record becomes an equal event."""

import json
import re
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from eventsourcing_kafka.producer.wire.event_types import Event

from .conversation import PAGE_ID, READER, read, stored, titled, wiki_events, written

UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@given(wiki_events(), st.integers(1, 2**63 - 1))
def test_every_event_of_the_wiki_comes_back_equal(event: Event, position: int) -> None:
    record = written(event, position)

    again = read(record)

    assert type(again) is type(event)
    assert vars(again) == vars(event)


@given(wiki_events(), st.integers(1, 2**63 - 1))
def test_the_headers_tell_of_the_event_before_it_is_decoded(event: Event, position: int) -> None:
    record = written(event, position)

    envelope = READER.envelope(record.key, record.headers)

    assert envelope.type == type(event).__qualname__
    assert UUID(envelope.originator_id) == event.originator_id
    assert envelope.version == event.originator_version
    assert envelope.position == position
    assert (envelope.class_version, envelope.encrypted) == (1, False)


@given(wiki_events())
def test_only_one_header_tells_where_the_class_of_an_event_is(event: Event) -> None:
    record = written(event)

    said = [record.value, *(value for name, value in record.headers if name != "ce_storedtopic")]

    assert not any(type(event).__module__.encode() in each for each in said)
    assert not any(b"_type_" in each for each in said)


@given(wiki_events())
def test_the_value_is_plain_json(event: Event) -> None:
    value = json.loads(written(event).value)

    assert set(value) == set(vars(event))
    assert UUID_TEXT.fullmatch(value["originator_id"])
    assert value["timestamp"][10] == "T"
    assert all(isinstance(attribute, str | int | None) for attribute in value.values())


def test_the_value_of_an_event_reads_as_anyone_would_write_it() -> None:
    assert json.loads(written(titled("Höhle")).value) == {
        "originator_id": str(PAGE_ID),
        "originator_version": 7,
        "timestamp": "2026-03-01T12:30:15.250000Z",
        "user_id": None,
        "title": "Höhle",
    }


def test_the_record_has_the_time_of_the_event() -> None:
    event = titled()

    assert written(event).timestamp_ms == event.timestamp.timestamp() * 1000  # type: ignore[attr-defined]


def test_what_is_stored_is_compressed_and_what_is_published_is_not() -> None:
    event = titled("rose " * 1000)

    assert len(stored(event).state) < 1000
    assert b"rose " * 1000 in written(event).value.replace(b'"', b"")
