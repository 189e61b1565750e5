"""The fast path leads to the same record, or to the same refusal, as making the event does."""

import gzip
import json
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from eventsourcing.cipher import AESCipher
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    JSONTranscoder,
    Mapper,
    Notification,
    UUIDAsHex,
)
from hypothesis import example, given
from hypothesis import strategies as st

from eventsourcing_kafka.producer.wire import EventTypes, Record, WireError, WireFormat
from eventsourcing_kafka.producer.wire.event_types import Event
from eventsourcing_kafka.producer.wire.fast_path import FastPath
from tests.chains import linked
from tests.language.languages import restored

from .conversation import (
    APPLICATION,
    PLAIN,
    WIKI,
    mapper_of,
    stored,
    titled,
    wiki_events,
)
from .shop import Account, Order, happened


class OwnMapper(Mapper[UUID]):
    """One that could do anything, as far as is known."""


class OwnTranscoder(JSONTranscoder):
    """So could this."""


class OwnIDs(UUIDAsHex):
    """And this."""


class Unplaced:
    """An event class of one's own, which does not say what an event's place is."""

    text: str


class Parcel(Aggregate):
    class Sent(Aggregate.Event):
        """Has an attribute of every plain type."""

        text: str
        number: int
        flag: bool
        by: UUID | None
        at: datetime
        either: int | str

    class Lost(Aggregate.Event):
        """Has a version."""

        class_version: ClassVar[int] = 2
        text: str

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            state["text"] = "upcast"


FAST = WireFormat(APPLICATION, EventTypes(), PLAIN)
SLOW = WireFormat(APPLICATION, EventTypes(), OwnMapper(PLAIN.transcoder, PLAIN.compressor))
SENT = EventTypes.of(Parcel).named("Parcel.Sent")


def outcome(wire: WireFormat, notification: Notification) -> tuple[Record, Any] | str:
    """Return the record, and what is in it in whatever order; or how it is refused."""
    try:
        record = linked(wire.to_record(notification))
        return record._replace(value=b""), json.loads(record.value)
    except (AttributeError, TypeError, ValueError) as refused:
        return repr(refused)


def taken(notification: Notification, mapper: Mapper[Any] = PLAIN) -> bool:
    """Tell whether the fast path is taken."""
    fast_path = FastPath.of(mapper)
    event_type = EventTypes().stored_as(notification.topic)
    decoder = fast_path.decoder(event_type) if fast_path else None
    return decoder is not None and decoder.encoded(notification) is not None


def holding(state: bytes) -> Notification:
    return Notification(uuid4(), 3, SENT.topic, state, id=9)


def sent(**attributes: Any) -> Event:
    usual = {
        "timestamp": Aggregate.Event.create_timestamp(),
        "text": "a rose",
        "number": 1,
        "flag": True,
        "by": uuid4(),
        "at": Aggregate.Event.create_timestamp(),
        "either": 1,
        "originator_id": uuid4(),
        "originator_version": 1,
    }
    return restored(SENT, **(usual | attributes))


ZONES = st.none() | st.builds(timezone, st.integers(-50_000, 50_000).map(lambda s: timedelta(0, s)))
VALUES = st.one_of(
    st.none(),
    st.text(),
    st.integers(),
    st.booleans(),
    st.floats(),
    st.decimals(),
    st.uuids(),
    st.datetimes(timezones=ZONES),
    st.lists(st.text() | st.uuids()),
    st.dictionaries(st.sampled_from(["_type_", "_data_", "a"]), st.integers(), max_size=1),
)
NAMES = st.sampled_from(["text", "number", "flag", "by", "at", "either", "timestamp", "unknown"])


@given(wiki_events(), st.integers(1, 2**63 - 1))
def test_every_event_of_the_wiki_has_the_same_record(event: Event, position: int) -> None:
    notification = stored(event, position)

    assert outcome(FAST, notification) == outcome(SLOW, notification)


@given(st.dictionaries(NAMES.filter(lambda name: name != "timestamp"), VALUES, max_size=3))
@example({"number": True})
@example({"number": 1.0})
@example({"number": 2**70})
@example({"flag": 1})
@example({"by": str(uuid4())})
@example({"text": uuid4()})
@example({"at": datetime(2026, 7, 1, tzinfo=timezone(timedelta(seconds=30)))})
def test_whatever_is_stored_has_the_same_record_or_is_refused_the_same(
    attributes: dict[str, Any],
) -> None:
    notification = stored(sent(**attributes))

    assert outcome(FAST, notification) == outcome(SLOW, notification)


@pytest.mark.parametrize("event", [titled(), sent(), sent(by=None, either="or")])
def test_usual_events_take_the_fast_path(event: Event) -> None:
    assert taken(stored(event))


def test_every_class_of_the_wiki_takes_the_fast_path() -> None:
    assert [event_type.name for event_type in WIKI if event_type.plain is None] == []


STATE = json.loads(gzip.decompress(stored(sent()).state))
WITHOUT_TEXT = {name: value for name, value in STATE.items() if name != "text"}


@pytest.mark.parametrize(
    "state",
    [
        {**STATE, "smuggled": 1},
        {**WITHOUT_TEXT, "smuggled": 1},
        WITHOUT_TEXT,
        {**STATE, "class_version": 1},
        {**STATE, "by": {"_type_": "uuid_hex", "_data_": "no ID"}},
        {**STATE, "by": {"_type_": "uuid_hex", "_data_": uuid4().hex, "more": 1}},
        {**STATE, "by": {"_type_": "nobody's", "_data_": ""}},
        {**STATE, "at": {"_type_": "datetime_iso", "_data_": "yesterday"}},
        {**STATE, "at": {"_type_": "datetime_iso", "_data_": "2026-03-01T12:00:00"}},
        {**STATE, "timestamp": "2026-03-01T12:00:00Z"},
        {"_type_": "uuid_hex", "_data_": uuid4().hex},
        [],
    ],
)
def test_an_unusual_state_goes_the_long_way(state: object) -> None:
    notification = holding(gzip.compress(json.dumps(state).encode()))

    assert not taken(notification)
    assert outcome(FAST, notification) == outcome(SLOW, notification)


COMPRESSED = stored(sent()).state


@pytest.mark.parametrize(
    "state",
    [
        gzip.compress(b'{"text":') + gzip.compress(b'"a rose"}'),
        gzip.compress(gzip.decompress(COMPRESSED)) + gzip.compress(b" "),
        COMPRESSED[:-9],
        COMPRESSED[:-9] + b"\0" * 9,
        COMPRESSED[:-8] + bytes(byte ^ 1 for byte in COMPRESSED[-8:-4]) + COMPRESSED[-4:],
        COMPRESSED + b"garbage",
        gzip.decompress(COMPRESSED),
        gzip.compress(b"\xff"),
        gzip.compress(b"[" * 100_000),
        b"",
    ],
    ids=[
        "two members",
        "an empty member",
        "cut off",
        "damaged",
        "wrong sum",
        "garbage behind",
        "not compressed",
        "no text",
        "too deep",
        "nothing",
    ],
)
def test_bytes_that_are_damaged_or_in_parts_are_read_as_the_library_reads_them(
    state: bytes,
) -> None:
    notification = holding(state)

    assert outcome(FAST, notification) == outcome(SLOW, notification)


@pytest.mark.parametrize("topic", ["", "zlib", "eventsourcing.compressor:ZlibCompressor"])
def test_other_compressors_do_their_own_work(topic: str) -> None:
    mapper = mapper_of(COMPRESSOR_TOPIC=topic)
    notification = stored(titled(), mapper=mapper)

    assert taken(notification, mapper)
    assert WireFormat(APPLICATION, EventTypes(), mapper).to_record(notification) == FAST.to_record(
        stored(titled())
    )


STATE_OF_UNPLACED = gzip.compress(b'{"text":"a rose"}')


def own_ids() -> JSONTranscoder:
    transcoder = JSONTranscoder()
    transcoder.register(OwnIDs())
    return transcoder


@pytest.mark.parametrize(
    "mapper",
    [
        OwnMapper(PLAIN.transcoder),
        Mapper(OwnTranscoder()),
        Mapper(own_ids()),
        Mapper(JSONTranscoder()),
        mapper_of(CIPHER_KEY=AESCipher.create_key(32)),
    ],
    ids=["mapper", "transcoder", "transcoding", "no transcodings", "cipher"],
)
def test_there_is_no_fast_path_past_what_is_not_the_librarys_own(mapper: Mapper[Any]) -> None:
    assert FastPath.of(mapper) is None


def test_there_is_no_fast_path_past_an_upcast() -> None:
    lost = {"timestamp": STATE["timestamp"], "text": "a rose"}
    topic = EventTypes.of(Parcel).named("Parcel.Lost").topic
    old = Notification(uuid4(), 1, topic, gzip.compress(json.dumps(lost).encode()), id=9)

    assert json.loads(FAST.to_record(old).value)["text"] == "upcast"


def test_there_is_no_fast_path_to_a_default() -> None:
    event = happened(Account.Closed)
    del vars(event)["reason"]

    assert not taken(stored(event))


def test_there_is_no_fast_path_to_a_class_that_does_not_name_the_place_of_its_events() -> None:
    notification = Notification(uuid4(), 1, f"{__name__}:Unplaced", STATE_OF_UNPLACED, id=9)

    assert "originator_id" in str(outcome(SLOW, notification))
    assert outcome(FAST, notification) == outcome(SLOW, notification)


@pytest.mark.parametrize("cls", [Order.Measured, Order.Priced, Order.Packed, Order.Answered])
def test_only_plain_attributes_have_one(cls: type[Event]) -> None:
    known = EventTypes.of(Order).named(cls.__qualname__)

    assert (known.plain is not None) == (cls is Order.Answered)


def test_an_event_that_creates_another_aggregate_is_refused() -> None:
    event = next(e for e in WIKI if e.name == "Page.Created")
    created = restored(
        event,
        originator_id=uuid4(),
        originator_version=1,
        timestamp=Aggregate.Event.create_timestamp(),
        user_id=None,
        originator_topic="eventsourcing_kafka.producer.contentmanagement.domainmodel:Slug",
        title="",
        slug="",
        body="",
    )

    with pytest.raises(WireError, match="creates a Page, not a 'Slug'"):
        FAST.to_record(stored(created))
