"""The headers follow CloudEvents 1.0 in the binary mode of its Kafka binding."""

import json
from datetime import datetime
from uuid import UUID

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from eventsourcing.application import Application
from eventsourcing.persistence import Notification
from eventsourcing.utils import get_topic
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.wire import Record
from eventsourcing_kafka.producer.wire.chain import identity_of
from eventsourcing_kafka.producer.wire.event_types import EventType
from tests.chains import linked
from tests.language.languages import events_of, every_type, mapper_of, writer_of

from .conversation import PAGE_ID, stored, titled, written
from .encryption import SECRET, SECRETIVE


def parsed_by_the_sdk(record: Record) -> BaseCloudEvent:
    message = KafkaMessage(dict(record.headers), record.key, record.value)
    return from_binary(message, JSONFormat())


def test_the_headers_are_these_and_no_others() -> None:
    key, _, headers, *_ = written(titled(), position=42)

    assert key == str(PAGE_ID).encode()
    assert sorted(headers) == [
        ("ce_id", f"{PAGE_ID}:7".encode()),
        ("ce_identity", identity_of(stored(titled()))),
        ("ce_partitionkey", str(PAGE_ID).encode()),
        ("ce_position", b"42"),
        ("ce_predecessor", b"0"),
        ("ce_sequence", b"0000000007"),
        ("ce_sequencetype", b"Integer"),
        ("ce_source", b"/ContentManagement"),
        ("ce_specversion", b"1.0"),
        ("ce_storedtopic", get_topic(Page.TitleUpdated).encode()),
        ("ce_subject", str(PAGE_ID).encode()),
        ("ce_time", b"2026-03-01T12:30:15.250000Z"),
        ("ce_type", b"Page.TitleUpdated"),
        ("ce_unwrapped", b'{"timestamp":"datetime_iso"}'),
        ("content-type", b"application/json"),
    ]


@pytest.mark.parametrize(("application", "event_type"), every_type(), ids=lambda each: each.name)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_the_official_sdk_reads_every_event_of_every_application(
    application: type[Application[UUID]], event_type: EventType, data: st.DataObject
) -> None:
    event = data.draw(events_of(event_type))
    notification = Notification(id=7, **vars(mapper_of(application).to_stored_event(event)))

    parsed = parsed_by_the_sdk(linked(writer_of(application).to_record(notification)))

    attributes = parsed.get_data()
    assert isinstance(attributes, dict)
    assert set(attributes) == set(vars(event))
    assert parsed.get_specversion() == "1.0"
    assert parsed.get_type() == event_type.name
    assert parsed.get_source() == f"/{application.name}"
    assert parsed.get_id() == f"{event.originator_id}:{event.originator_version}"
    assert parsed.get_subject() == str(event.originator_id)
    assert parsed.get_time() == vars(event)["timestamp"]
    assert parsed.get_datacontenttype() == "application/json"
    assert parsed.get_extension("partitionkey") == str(event.originator_id)
    assert int(parsed.get_extension("sequence")) == event.originator_version
    assert parsed.get_extension("position") == "7"


def test_sequences_sort_as_text_as_the_extension_demands() -> None:
    sequences = [in_header("ce_sequence", originator_version=n) for n in (1, 9, 10, 2**31 - 1)]

    assert sequences == sorted(sequences)
    assert len({len(sequence) for sequence in sequences}) == 1


def test_a_time_without_a_zone_is_nobodys_time() -> None:
    """Two relays in two zones would publish two times of it: only the application knows."""
    event = titled()
    vars(event)["timestamp"] = datetime(2026, 7, 1, 12)  # noqa: DTZ001 - as one may have it

    record = written(event)

    assert "ce_time" not in dict(record.headers)
    assert record.timestamp_ms is None
    assert json.loads(record.value)["timestamp"] == "2026-07-01T12:00:00"


def in_header(name: str, **attributes: object) -> str:
    event = titled()
    vars(event).update(attributes)
    return dict(written(event).headers)[name].decode()


def test_the_official_sdk_reads_ciphertext_as_bytes() -> None:
    parsed = parsed_by_the_sdk(linked(SECRETIVE.to_record(stored(titled(), mapper=SECRET))))

    assert parsed.get_datacontenttype() == "application/octet-stream"
    assert parsed.get_extension("encrypted") == "true"
    assert isinstance(parsed.get_data(), bytes)
