"""Records of tagged decisions: what they say, and that they are read as what was stored."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from eventsourcing.dcb.api import DCBEvent
from eventsourcing.dcb.domain import EnduringObject, Tagged
from eventsourcing.dcb.msgpack import Decision, InitialDecision, MessagePackMapper
from eventsourcing.dcb.persistence import DCBMapper
from eventsourcing.domain import event

from eventsourcing_kafka.producer.wire import (
    EventTypes,
    Record,
    UnknownEventTypeError,
    WireError,
    reader_of,
    wire_of,
)
from eventsourcing_kafka.producer.wire.chain import identity_of
from eventsourcing_kafka.producer.wire.discovery import event_types_of
from eventsourcing_kafka.producer.wire.tagged import KeyedOtherwiseError, TaggedWireFormat
from eventsourcing_kafka.producer.wire.tags import TaggedNotification
from examples.courses.application import Courses
from examples.courses.domainmodel import CourseOffered, StudentJoined

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
OFFERED = CourseOffered("course-1", "Poetry", 20, AT)
JOINED = StudentJoined("course-1", "student-1")
MAPPER = MessagePackMapper()
WRITER = TaggedWireFormat("Courses", EventTypes(), tag_prefix="")
BY_COURSE = TaggedWireFormat("Courses", EventTypes(), tag_prefix="course")
READER = reader_of("Courses", event_types_of(Courses), None)


class Room(EnduringObject[Decision]):
    """Is created by a decision."""

    class Opened(InitialDecision):
        """There is a new room."""

        name: str

    class Measured(Decision):
        """Has attributes of all kinds."""

        sizes: dict[int, float]
        plan: bytes
        at: datetime

    @event(Opened)
    def __init__(self, name: str) -> None:
        self.name = name


ROOMS = TaggedWireFormat("Courses", EventTypes.of(Room.Measured))


def stored(
    decision: Decision, tags: Sequence[str] = ("course-1", "student-1"), position: int = 7
) -> TaggedNotification:
    return TaggedNotification.of(position, MAPPER.to_dcb_event(Tagged(list(tags), decision)))


def linked(record: Record) -> list[tuple[str, bytes]]:
    return [*record.headers, ("ce_predecessor", b"0")]


def read(record: Record, reader: Any = READER) -> Tagged[Any]:
    found: Tagged[Any] = reader.to_event(reader.envelope(record.key, linked(record)), record.value)
    return found


def test_the_headers_are_those_of_any_record_but_for_the_aggregate() -> None:
    notification = stored(OFFERED, ["course-1", "née"])
    record = WRITER.to_record(notification)
    identity = identity_of(notification)
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_type": b"CourseOffered",
        "ce_source": b"/Courses",
        "ce_storedtopic": b"examples.courses.domainmodel:CourseOffered",
        "content-type": b"application/json",
        "ce_id": b"7",
        "ce_tags": b'["course-1","n\\u00e9e"]',
        "ce_partitionkey": b"Courses",
        "ce_position": b"7",
        "ce_identity": identity,
        "ce_unwrapped": b'{"at":"timestamp"}',
    }
    assert (record.key, record.position, record.identity) == (b"Courses", 7, identity)
    assert json.loads(record.value) == {
        "course": "course-1",
        "title": "Poetry",
        "places": 20,
        "at": "2026-03-01T12:30:00Z",
    }


def test_a_reader_has_what_the_library_s_mapper_makes() -> None:
    tagged = read(WRITER.to_record(stored(OFFERED)))
    assert (tagged.tags, tagged.decision) == (["course-1", "student-1"], OFFERED)


@pytest.mark.parametrize(
    "decision", [OFFERED, JOINED, Room.Measured({1: 0.5, -2: float("inf")}, b"\x00\xff", AT)]
)
def test_a_record_is_turned_back_into_what_is_stored(decision: Decision) -> None:
    notification = stored(decision)
    record = WRITER.to_record(notification)
    again = READER.to_stored(READER.envelope(record.key, linked(record)), record.value)
    assert again == notification
    assert identity_of(again) == record.identity


def test_what_is_no_message_pack_of_the_library_s_is_published_as_it_is() -> None:
    notification = TaggedNotification.of(1, DCBEvent("Offered", b'{"title": "Poetry"}', ["a"]))
    record = WRITER.to_record(notification)
    assert record.value == b'{"title": "Poetry"}'
    assert dict(record.headers)["content-type"] == b"application/octet-stream"
    assert READER.to_stored(READER.envelope(record.key, linked(record)), record.value) == (
        notification
    )


class OwnMapper(DCBMapper[Any]):
    """Stores in a way of its own."""

    def to_dcb_event(self, event: Tagged[Any]) -> DCBEvent:
        return DCBEvent("examples.courses.domainmodel:StudentJoined", b"\x80", event.tags)

    def to_domain_event(self, event: DCBEvent) -> Tagged[Any]:
        return Tagged(event.tags, JOINED)


def test_what_a_mapper_of_the_application_s_own_makes_is_published_as_it_is() -> None:
    mapper = OwnMapper()
    notification = TaggedNotification.of(1, mapper.to_dcb_event(Tagged(["a"], JOINED)))
    record = TaggedWireFormat("Courses", EventTypes(), mapper, tag_prefix="").to_record(
        notification
    )
    assert record.value == b"\x80"
    assert read(record, reader_of("Courses", event_types_of(Courses), mapper)).decision == JOINED


@pytest.mark.parametrize(
    "other",
    [
        stored(JOINED, ["course-1"]),
        stored(JOINED, ["student-1", "course-1"]),
        stored(StudentJoined("course-1", "student-2")),
        TaggedNotification.of(
            7, DCBEvent("another:Topic", stored(JOINED).state, ["course-1", "student-1"])
        ),
    ],
)
def test_an_identity_is_of_all_that_is_stored(other: TaggedNotification) -> None:
    assert identity_of(other) != identity_of(stored(JOINED))


def test_by_a_tag_that_is_the_key() -> None:
    record = BY_COURSE.to_record(stored(JOINED))
    headers = dict(record.headers)
    assert record.key == b"course-1"
    assert headers["ce_partitionkey"] == headers["ce_subject"] == b"course-1"
    assert headers["ce_tagprefix"] == b"course"
    assert read(record).decision == JOINED
    envelope = READER.envelope(record.key, linked(record))
    assert (envelope.originator_id, envelope.of_the_whole) == ("course-1", False)


@pytest.mark.parametrize(
    ("tags", "it_has"),
    [
        ([], "none"),
        (["student-1"], "none"),
        (["course-2", "course-1"], "'course-1' and 'course-2'"),
    ],
)
def test_an_event_without_exactly_one_such_tag_is_refused(tags: Sequence[str], it_has: str) -> None:
    with pytest.raises(WireError, match=f"begins with 'course', and it has {it_has}") as refused:
        BY_COURSE.to_record(stored(JOINED, tags))
    assert "StudentJoined at position 7" in str(refused.value)
    assert "do without --partition-by-tag" in str(refused.value)


def test_a_key_with_a_lone_surrogate_is_refused_with_where_it_is_and_what_to_do() -> None:
    with pytest.raises(WireError) as refused:
        BY_COURSE.to_record(stored(JOINED, ["course-\ud800"]))
    said = str(refused.value)
    assert "StudentJoined at position 7" in said
    assert r"its tag 'course-\ud800', which has a lone surrogate at 7" in said
    assert "do without --partition-by-tag" in said
    assert said.isascii()


def test_a_lone_surrogate_in_a_tag_that_is_no_key_is_published_and_comes_back() -> None:
    record = WRITER.to_record(stored(JOINED, ["course-\ud800"]))
    assert READER.envelope(record.key, linked(record)).tags == ("course-\ud800",)


def test_the_same_tag_twice_is_one() -> None:
    assert BY_COURSE.to_record(stored(JOINED, ["course-1", "course-1"])).key == b"course-1"


@pytest.mark.parametrize(("written", "told"), [(WRITER, BY_COURSE), (BY_COURSE, WRITER)])
def test_a_relay_refuses_a_topic_that_is_keyed_otherwise(
    written: TaggedWireFormat, told: TaggedWireFormat
) -> None:
    record = written.to_record(stored(JOINED))
    with pytest.raises(KeyedOtherwiseError, match="would lose their order"):
        told.envelope(record.key, linked(record))


def altered(name: str, value: bytes | None) -> list[tuple[str, bytes]]:
    headers = dict(linked(BY_COURSE.to_record(stored(JOINED))))
    headers.pop(name)
    return [*headers.items(), *([(name, value)] if value is not None else [])]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ce_tags", None, "'ce_tags' is missing"),
        ("ce_tags", b"course-1", "malformed"),
        ("ce_tags", b'["course-1", "student-1"]', "malformed"),
        ("ce_tags", b"[1]", "malformed"),
        ("ce_tags", b'["student-1"]', "not the tag"),
        ("ce_position", b"-1", "malformed"),
        ("ce_source", b"/Others", "not from Courses"),
        ("ce_partitionkey", b"course-2", "is not the header"),
        ("ce_type", b"StudentLeft", "'ce_type'"),
        ("ce_tagprefix", None, "not the tag"),
        ("ce_identity", b"x", "malformed"),
    ],
)
def test_a_record_that_contradicts_itself_is_foreign(
    name: str, value: bytes | None, reason: str
) -> None:
    with pytest.raises(WireError, match=reason):
        READER.envelope(b"course-1", altered(name, value))


def test_a_header_that_is_there_twice_is_foreign() -> None:
    record = WRITER.to_record(stored(JOINED))
    with pytest.raises(WireError, match="twice"):
        READER.envelope(record.key, [*linked(record), ("ce_tags", b"[]")])


def test_an_unknown_type_is_not_imported() -> None:
    unknown = TaggedNotification.of(1, DCBEvent("antigravity:Course", b"\x80", []))
    with pytest.raises(UnknownEventTypeError):
        read(WRITER.to_record(unknown))


def test_what_is_no_such_decision_is_an_error() -> None:
    strange = TaggedNotification.of(1, DCBEvent(stored(JOINED).topic, b"\x81\xa1a\x01", []))
    record = WRITER.to_record(strange)
    with pytest.raises(WireError, match="not a StudentJoined"):
        read(record)
    envelope = READER.envelope(record.key, linked(record))
    with pytest.raises(WireError, match="tombstone"):
        READER.to_event(envelope, None)


def test_a_decision_may_create_only_what_is_known() -> None:
    known = TaggedWireFormat("Courses", EventTypes([Room.Opened]))  # type: ignore[list-item]
    opened = Room.Opened(originator_topic=f"{__name__}:Room", name="A")
    assert read(WRITER.to_record(stored(opened)), known).decision == opened
    strange = Room.Opened(originator_topic="antigravity:Room", name="A")
    with pytest.raises(WireError, match="'antigravity:Room', which is not registered"):
        read(WRITER.to_record(stored(strange)), known)


def test_an_application_says_how_it_is_published() -> None:
    with Courses({"COURSES_PARTITION_BY_TAG": "course"}) as app:
        assert wire_of(app).key_of(stored(JOINED)) == b"course-1"
        assert not wire_of(app).ordered_as_a_whole
    with Courses() as app:
        assert wire_of(app).key_of(stored(JOINED)) == b"Courses"
        assert wire_of(app).ordered_as_a_whole
