"""Over Kafka an event is what it is in the library, whatever its class and its application's."""

import gzip
import json
import pickle
import sys
import zlib
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, cast
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from eventsourcing import utils
from eventsourcing.cipher import AESCipher
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    Compressor,
    JSONTranscoder,
    Mapper,
    Notification,
    Transcoder,
    UUIDAsHex,
)
from eventsourcing.popo import POPOApplicationRecorder
from eventsourcing.utils import Environment, get_topic
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsourcing_kafka.producer.wire import (
    EventTypes,
    OutdatedError,
    Record,
    UnknownEventTypeError,
    WireError,
    WireFormat,
    decoding,
)
from eventsourcing_kafka.producer.wire.event_types import Event
from tests.chains import linked

from .conversation import read
from .shop import happened
from .test_state import ANY_JSON, NAMES, STATES, TRANSCODER, TREES

NAME = "Market"


class Stall(Aggregate):
    class Created(Aggregate.Created):
        """Creates one."""

        name: str

    class Priced(Aggregate.Event):
        """Upcasts what it takes for a Decimal, a time and an ID."""

        class_version: ClassVar[int] = 3
        amount: Decimal
        note: str | None = None

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            state["amount"] = state["amount"] * 100

        @staticmethod
        def upcast_v2_v3(state: dict[str, Any]) -> None:
            state["kinds"] = [type(value).__name__ for value in state.values()]

    class Filled(Aggregate.Event):
        """Has whatever it is given."""

    class Weighed(Aggregate.Event):
        """Has its version where others have attributes."""

        class_version: int = 2
        amount: Decimal = Decimal(0)

    class Audited(Aggregate.Event):
        """Has a version of its own, which is not its class's."""

        class_version: int

    class Named(Aggregate.Event):
        TOPIC: ClassVar[str] = "StallNamed"


@dataclass(frozen=True)
class Weighed:
    """An event class of one's own, which inherits nothing."""

    originator_id: UUID
    originator_version: int
    grams: Any


@dataclass(frozen=True)
class Labelled:
    """One whose IDs are texts."""

    originator_id: str
    originator_version: int
    text: Any


TYPES = EventTypes.of(Stall, Weighed, Labelled)
CIPHER = AESCipher(Environment(NAME, {"CIPHER_KEY": AESCipher.create_key(32)}))


class OwnMapper(Mapper[Any]):
    """It could do anything."""


class Pickle(Transcoder):
    """It makes no JSON."""

    def encode(self, obj: Any) -> bytes:
        return pickle.dumps(obj)

    def decode(self, data: bytes) -> Any:
        return pickle.loads(data)


class OwnIDs(UUIDAsHex):
    """It has the library's name, and another meaning."""

    def encode(self, obj: UUID) -> str:
        return f"{obj.int:032x}"[::-1]

    def decode(self, data: str) -> UUID:
        return UUID(data[::-1])


def own_ids() -> JSONTranscoder:
    transcoder = JSONTranscoder()
    for each in TRANSCODER.names.values():
        transcoder.register(each)
    transcoder.register(OwnIDs())
    return transcoder


MAPPERS: dict[str, Mapper[Any]] = {
    "plain": Mapper(TRANSCODER),
    "zlib": Mapper(TRANSCODER, cast("Compressor", zlib)),
    "gzip": Mapper(TRANSCODER, cast("Compressor", gzip)),
    "cipher": Mapper(TRANSCODER, None, CIPHER),
    "gzip and cipher": Mapper(TRANSCODER, cast("Compressor", gzip), CIPHER),
    "own mapper": OwnMapper(TRANSCODER, cast("Compressor", gzip)),
    "own transcoder": Mapper(Pickle(), cast("Compressor", zlib)),
    "own transcoding": Mapper(own_ids()),
}
every_mapper = pytest.mark.parametrize("mapper", MAPPERS.values(), ids=MAPPERS)


def events(values: st.SearchStrategy[Any] = TREES) -> st.SearchStrategy[Event]:
    """Return events as an application makes them, of each class above."""
    return st.one_of(
        st.builds(partial(happened, Stall.Priced), amount=st.decimals()),
        st.builds(partial(happened, Stall.Named)),
        st.builds(partial(happened, Stall.Created), name=st.text(), originator_topic=TOPICS),
        st.builds(filled, STATES),
        st.builds(Weighed, st.uuids(), st.integers(1, 2**63 - 1), values),
        st.builds(Labelled, st.text(min_size=1), st.integers(1, 2**63 - 1), values),
    )


TOPICS = st.just(get_topic(Stall))


def filled(attributes: dict[str, Any]) -> Event:
    event = happened(Stall.Filled)
    left_out = {"originator_topic", "class_version"}
    vars(event).update({n: v for n, v in attributes.items() if n not in left_out})
    return event


def recorded(event: Event, mapper: Mapper[Any]) -> Notification:
    """Return what the library's own recorder has of an event."""
    recorder = POPOApplicationRecorder()
    recorder.insert_events([mapper.to_stored_event(event)])
    return recorder.select_notifications(start=1, limit=1)[0]


def published(
    notification: Notification, mapper: Mapper[Any], *, decrypt: bool = False
) -> tuple[WireFormat, Record]:
    """Return a record, written without any class, and what reads it."""
    writer = WireFormat(NAME, EventTypes(), mapper, decrypt=decrypt)
    return WireFormat(NAME, TYPES, mapper), linked(writer.to_record(notification))


def exactly(event: Event) -> tuple[type, str]:
    """Return what an event is, its types and the order of its attributes included."""
    return type(event), repr(vars(event))


@every_mapper
@given(event=events())
@settings(max_examples=30, deadline=None)
def test_a_record_is_read_as_the_librarys_mapper_reads_the_store(
    mapper: Mapper[Any], event: Event
) -> None:
    notification = recorded(event, mapper)

    reader, record = published(notification, mapper)

    expected = exactly(mapper.to_domain_event(notification))
    assert exactly(read(record, reader)) == expected
    with patch.object(decoding, "_fast", return_value=None):
        assert exactly(read(record, reader)) == expected


@every_mapper
@given(event=events())
@settings(max_examples=30, deadline=None)
def test_from_the_store_to_the_record_and_back_is_the_same(
    mapper: Mapper[Any], event: Event
) -> None:
    notification = recorded(event, mapper)
    reader, record = published(notification, mapper)
    envelope = reader.envelope(record.key, record.headers)

    again = reader.to_stored(envelope, record.value)

    assert (again.originator_id, again.originator_version, again.topic) == (
        str(notification.originator_id),
        notification.originator_version,
        notification.topic,
    )
    if envelope.is_json:
        plain = notification.state
        plain = mapper.compressor.decompress(plain) if mapper.compressor else plain
        assert repr(json.loads(again.state)) == repr(json.loads(plain))
    else:
        assert again.state == notification.state


@pytest.mark.parametrize("mapper", [MAPPERS["cipher"], MAPPERS["gzip and cipher"]])
@given(event=events())
@settings(max_examples=30, deadline=None)
def test_what_is_published_decrypted_is_read_without_the_key(
    mapper: Mapper[Any], event: Event
) -> None:
    notification = recorded(event, mapper)

    _, record = published(notification, mapper, decrypt=True)

    again = read(record, WireFormat(NAME, TYPES, MAPPERS["plain"]))
    assert exactly(again) == exactly(mapper.to_domain_event(notification))


@given(st.dictionaries(NAMES, ANY_JSON, max_size=4))
def test_whatever_is_stored_is_read_as_the_library_reads_it_or_refused(
    state: dict[str, Any],
) -> None:
    mapper = MAPPERS["plain"]
    stored = Notification(uuid4(), 1, get_topic(Stall.Filled), json.dumps(state).encode(), id=1)
    try:
        expected = exactly(mapper.to_domain_event(stored))
        reader, record = published(stored, mapper)
    except (WireError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError):
        return
    try:
        again = exactly(read(record, reader))
    except WireError:
        assert "originator_topic" in state or "class_version" in state
        return
    assert again == expected


# A5, A6, B2 to B6, B14: what once was lost, altered or refused.

PLAIN = MAPPERS["plain"]


def older(version: int, **attributes: Any) -> Notification:
    """Return what a program has stored that knew a class in an earlier or a later version."""
    told = {"class_version": version} if version > 1 else {}
    state = PLAIN.transcoder.encode({**attributes, **told})
    return Notification(uuid4(), 1, get_topic(Stall.Priced), state, id=1)


def test_an_upcast_is_given_the_types_that_it_is_given_in_the_library() -> None:
    stored = older(1, amount=Decimal(5), at=datetime(2026, 3, 1), by=uuid4())  # noqa: DTZ001

    reader, record = published(stored, PLAIN)
    event = vars(read(record, reader))

    assert event["amount"] == 500
    assert event["kinds"][:3] == ["Decimal", "datetime", "UUID"]
    assert event == vars(PLAIN.to_domain_event(stored))


def test_a_version_that_the_relay_does_not_know_is_published_as_it_was_stored() -> None:
    reader, record = published(older(4, amount=Decimal(5)), PLAIN)

    assert dict(record.headers)["ce_classversion"] == b"4"
    with pytest.raises(OutdatedError, match=r"version 4 of Stall\.Priced.* update it"):
        read(record, reader)


@pytest.mark.parametrize("mapper", [MAPPERS["cipher"], MAPPERS["gzip and cipher"]])
def test_a_version_that_a_reader_with_the_key_does_not_know_asks_for_an_update(
    mapper: Mapper[Any],
) -> None:
    plain = older(4, amount=Decimal(5))
    compressed = mapper.compressor.compress(plain.state) if mapper.compressor else plain.state
    reader, record = published(replace(plain, state=CIPHER.encrypt(compressed)), mapper)

    with pytest.raises(OutdatedError, match=r"version 4 of Stall\.Priced.* update it"):
        read(record, reader)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_is_none_comes_back_as_it_was(number: str) -> None:
    reader, record = published(recorded(filled({"a": float(number)}), PLAIN), PLAIN)

    assert repr(vars(read(record, reader))["a"]) == number


def test_what_was_stored_before_an_attribute_had_a_default_is_published_as_stored() -> None:
    reader, record = published(older(3, amount=Decimal(5)), PLAIN)

    assert "note" not in json.loads(record.value)
    event = read(record, reader)
    assert "note" not in vars(event)
    assert cast("Any", event).note is None


@pytest.fixture
def aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register aliases, for its own length."""
    monkeypatch.setattr(utils, "_topic_cache", dict(utils._topic_cache))


def alias_of(name: str) -> Any:
    """Return what an old name is registered for: a class, a module, or a package."""
    here = sys.modules[__name__]
    found: dict[str, Any] = {
        "old.market:Booth": Stall,
        "old.market:Booth.Opened": Stall.Created,
        "old.market": here,
        "old": sys.modules[here.__package__ or ""],
    }
    return found[name]


@pytest.mark.usefixtures("aliases")
@pytest.mark.parametrize(
    ("names", "topic", "created"),
    [
        (["old.market:Booth"], "old.market:Booth.Created", "old.market:Booth"),
        (
            ["old.market:Booth.Opened", "old.market:Booth"],
            "old.market:Booth.Opened",
            "old.market:Booth",
        ),
        (["old.market"], "old.market:Stall.Created", "old.market:Stall"),
        (["old"], "old.test_differential:Stall.Created", "old.test_differential:Stall"),
    ],
    ids=["a renamed class", "a renamed event", "a moved module", "a moved package"],
)
def test_what_the_library_finds_by_an_alias_is_read(
    names: list[str], topic: str, created: str
) -> None:
    event = happened(Stall.Created, name="Ada", originator_topic=created)
    stored = replace(recorded(event, PLAIN), topic=topic)
    reader, record = published(stored, PLAIN)
    for name in names:
        utils.register_topic(name, alias_of(name))

    assert exactly(read(record, reader)) == exactly(PLAIN.to_domain_event(stored))


def test_what_is_under_an_old_name_without_an_alias_is_not_known() -> None:
    stored = replace(recorded(filled({}), PLAIN), topic="old.market:Booth.Filled")
    reader, record = published(stored, PLAIN)

    with pytest.raises(UnknownEventTypeError, match=r"Booth\.Filled"):
        read(record, reader)


def test_a_class_of_the_same_name_in_another_module_is_another_class() -> None:
    """As in the library: that it has moved, its application says by an alias."""
    stored = replace(recorded(filled({}), PLAIN), topic="old.market:Stall.Filled")
    reader, record = published(stored, PLAIN)

    with pytest.raises(UnknownEventTypeError, match=r"stored as 'old.market:Stall.*update"):
        read(record, reader)


@pytest.mark.usefixtures("aliases")
def test_an_event_that_begins_an_aggregate_without_an_alias_waits_for_an_update() -> None:
    event = happened(Stall.Created, name="Ada", originator_topic="old.market:Stall")
    stored = replace(recorded(event, PLAIN), topic="old.market:Stall.Created")
    reader, record = published(stored, PLAIN)
    utils.register_topic("old.market:Stall.Created", Stall.Created)

    with pytest.raises(OutdatedError, match=r"creates 'old.market:Stall'.*register_topic"):
        read(record, reader)


@pytest.mark.parametrize("text", ["", "os:system", "Stall", get_topic(Stall)])
def test_an_event_that_begins_nothing_has_a_text_of_that_name_as_any_other(text: str) -> None:
    event = happened(Stall.Filled)
    vars(event)["originator_topic"] = text
    stored = recorded(event, PLAIN)
    reader, record = published(stored, PLAIN)

    assert exactly(read(record, reader)) == exactly(PLAIN.to_domain_event(stored))


@pytest.mark.parametrize("mapper", [MAPPERS["plain"], MAPPERS["cipher"]], ids=["plain", "cipher"])
def test_an_attribute_that_is_called_like_the_version_is_dropped_as_in_the_library(
    mapper: Mapper[Any],
) -> None:
    stored = recorded(happened(Stall.Audited, class_version=7), mapper)
    reader, record = published(stored, mapper)

    assert exactly(read(record, reader)) == exactly(mapper.to_domain_event(stored))


def test_a_version_that_a_class_has_among_its_attributes_is_in_the_header() -> None:
    """It is stored in their order, and not at the end, as that of most classes is."""
    stored = recorded(happened(Stall.Weighed, class_version=2, amount=Decimal(5)), PLAIN)
    reader, record = published(stored, PLAIN)

    assert dict(record.headers)["ce_classversion"] == b"2"
    assert exactly(read(record, reader)) == exactly(PLAIN.to_domain_event(stored))
    older = replace(stored, topic=get_topic(Stall.Filled))  # It knows of no version 2.
    reader, record = published(older, PLAIN)
    with pytest.raises(OutdatedError, match="update it"):
        read(record, reader)


class Cents(Mapper[Any]):
    """One that goes by the topic that is stored."""

    def to_domain_event(self, stored_event: Any) -> Any:
        event = super().to_domain_event(stored_event)
        vars(event)["old"] = stored_event.topic
        return event


@pytest.mark.usefixtures("aliases")
def test_a_mapper_of_ones_own_is_given_the_topic_that_is_stored() -> None:
    utils.register_topic("old.market:Booth", Stall)
    mapper = Cents(TRANSCODER)
    stored = replace(recorded(filled({}), mapper), topic="old.market:Booth.Filled")
    reader, record = published(stored, mapper)

    assert vars(read(record, reader))["old"] == "old.market:Booth.Filled"


class Labels(Pickle):
    """A transcoder with more to it than the library asks for."""

    prefix = "#"


class Labelling(Mapper[Any]):
    """It needs that."""

    def to_domain_event(self, stored_event: Any) -> Any:
        event = super().to_domain_event(stored_event)
        vars(event)["label"] = cast("Labels", self.transcoder).prefix
        return event


def test_a_transcoder_of_ones_own_is_itself_for_its_mapper() -> None:
    mapper = Labelling(Labels())
    reader, record = published(recorded(filled({}), mapper), mapper)

    assert vars(read(record, reader))["label"] == "#"


@pytest.mark.parametrize(
    ("topic", "originator_id"), [("market:\ud800", "a"), ("market:Stall.Named", "\ud800")]
)
def test_what_is_no_text_is_refused_with_its_place(topic: str, originator_id: str) -> None:
    writer = WireFormat(NAME, EventTypes(), PLAIN)

    with pytest.raises(WireError, match="at position 9, can't be published"):
        writer.to_record(Notification(originator_id, 1, topic, b"{}", id=9))


def test_a_topic_without_a_colon_is_the_published_name() -> None:
    reader, record = published(recorded(happened(Stall.Named), PLAIN), PLAIN)

    assert dict(record.headers)["ce_type"] == b"StallNamed"
    assert type(read(record, reader)) is Stall.Named


def test_a_tuple_and_a_dictionary_of_ids_come_back_as_the_library_stores_them() -> None:
    value = {"ids": (uuid4(), uuid4()), "by name": {"a": uuid4(), "b": [uuid4(), 1]}}
    stored = recorded(filled(value), PLAIN)

    reader, record = published(stored, PLAIN)

    assert exactly(read(record, reader)) == exactly(PLAIN.to_domain_event(stored))


STORED_BY_NAME = Notification(UUID(int=7), 3, get_topic(Stall.Filled), b"\x80\x04", id=9)


def test_what_can_not_be_published_is_named_with_its_place_and_what_to_do() -> None:
    with pytest.raises(WireError, match=rf"Stall\.Filled {UUID(int=7)} version 3, at position 9"):
        published(STORED_BY_NAME, PLAIN)


def test_an_own_mapper_or_transcoder_that_encrypts_is_not_published_decrypted() -> None:
    for mapper in (OwnMapper(TRANSCODER, None, CIPHER), Mapper[Any](Pickle(), None, CIPHER)):
        wire = WireFormat(NAME, EventTypes(), mapper, decrypt=True)

        assert wire.encrypted
        assert wire.to_record(STORED_BY_NAME).value == STORED_BY_NAME.state
