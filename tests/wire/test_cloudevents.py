"""The headers follow CloudEvents 1.0 in the binary mode of its Kafka binding."""

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given

from producer.wire import Record
from producer.wire.events import Event

from .conversation import PAGE_ID, stored, titled, wiki_events, written
from .encryption import SECRET, SECRETIVE


def parsed_by_the_sdk(record: Record) -> BaseCloudEvent:
    message = KafkaMessage(dict(record.headers), record.key, record.value)
    return from_binary(message, JSONFormat())


def test_the_headers_are_these_and_no_others() -> None:
    key, _, headers, _ = written(titled(), position=42)

    assert key == str(PAGE_ID).encode()
    assert sorted(headers) == [
        ("ce_id", f"{PAGE_ID}:7".encode()),
        ("ce_partitionkey", str(PAGE_ID).encode()),
        ("ce_position", b"42"),
        ("ce_sequence", b"7"),
        ("ce_sequencetype", b"Integer"),
        ("ce_source", b"/ContentManagement"),
        ("ce_specversion", b"1.0"),
        ("ce_subject", str(PAGE_ID).encode()),
        ("ce_time", b"2026-03-01T12:30:15.250000+00:00"),
        ("ce_type", b"Page.TitleUpdated"),
        ("content-type", b"application/json"),
    ]


@given(wiki_events())
def test_the_official_sdk_reads_every_event(event: Event) -> None:
    parsed = parsed_by_the_sdk(written(event))

    data = parsed.get_data()
    assert isinstance(data, dict)
    assert set(data) == set(vars(event))
    assert parsed.get_specversion() == "1.0"
    assert parsed.get_type() == type(event).__qualname__
    assert parsed.get_source() == "/ContentManagement"
    assert parsed.get_id() == f"{event.originator_id}:{event.originator_version}"
    assert parsed.get_subject() == str(event.originator_id)
    assert parsed.get_time() == vars(event)["timestamp"]
    assert parsed.get_datacontenttype() == "application/json"
    assert parsed.get_extension("partitionkey") == str(event.originator_id)
    assert parsed.get_extension("sequence") == str(event.originator_version)


def test_the_official_sdk_reads_ciphertext_as_bytes() -> None:
    parsed = parsed_by_the_sdk(SECRETIVE.to_record(stored(titled(), mapper=SECRET)))

    assert parsed.get_datacontenttype() == "application/octet-stream"
    assert parsed.get_extension("encrypted") == "true"
    assert isinstance(parsed.get_data(), bytes)
