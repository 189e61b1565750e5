"""What is published of a state is strict JSON, and gives back the state that is stored."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any
from unittest.mock import patch
from uuid import UUID

import msgspec
import pytest
from eventsourcing.persistence import Transcoding
from hypothesis import example, given
from hypothesis import strategies as st

from eventsourcing_kafka.producer.wire import state as wire
from eventsourcing_kafka.producer.wire.decoding import usual_mapper
from eventsourcing_kafka.producer.wire.state import (
    Published,
    StateError,
    publish,
    restore,
    state_of,
    usual_aggregate,
)

TOPIC = "shop.domain:Order.Placed"
PLACE = ("7f0c0001-0000-4000-8000-000000000001", 3)


@dataclass(frozen=True)
class Pair:
    """What JSON does not have, with others in it."""

    first: Any
    second: Any


class PairAsList(Transcoding):
    """One of an application's own."""

    type = Pair
    name = "pair_as_list"

    def encode(self, obj: Pair) -> list[Any]:
        return [obj.first, obj.second]

    def decode(self, data: list[Any]) -> Pair:
        return Pair(*data)


class DateAsISO(Transcoding):
    """One of an application's own, which looks like the library's."""

    type = date
    name = "date_iso"

    def encode(self, obj: date) -> str:
        return obj.isoformat()

    def decode(self, data: str) -> date:
        return date.fromisoformat(data)


TRANSCODER: Any = usual_mapper().transcoder
TRANSCODER.register(PairAsList())
TRANSCODER.register(DateAsISO())

ZONES = st.none() | st.builds(timezone, st.integers(-50_000, 50_000).map(lambda s: timedelta(0, s)))
TIMES = st.datetimes(timezones=ZONES)
NUMBERS = st.integers() | st.integers(2**62, 2**80) | st.floats()
SCALARS = st.none() | st.booleans() | NUMBERS | st.text()
WRAPPED = st.uuids() | st.decimals() | TIMES | st.dates()
NAMES = st.text(max_size=5) | st.sampled_from(
    ["_type_", "_data_", "_float_", "timestamp", "originator_topic", "class_version", "uuid_hex"]
)
TREES = st.recursive(
    SCALARS | WRAPPED,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.builds(Pair, inner, inner),
        st.dictionaries(NAMES, inner, max_size=3).filter(lambda d: set(d) != {"_type_", "_data_"}),
        *(st.lists(kind, min_size=1, max_size=3) for kind in (st.uuids(), TIMES, st.decimals())),
    ),
    max_leaves=8,
)
STATES = st.dictionaries(NAMES, TREES, max_size=6).filter(
    lambda state: set(state) != {"_type_", "_data_"}
)

ANY_JSON = st.recursive(
    SCALARS | st.sampled_from(["\ud800", "7F0C", "2026-01-01T00:00:00Z", "0" * 32, "NaN"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(NAMES | st.just("\udfff"), inner, max_size=3),
        st.fixed_dictionaries({"_type_": inner, "_data_": inner}),
        st.builds(
            lambda kind, data: {"_data_": data, "_type_": kind},
            st.sampled_from(["uuid_hex", "datetime_iso", "decimal_str", "_float_", "", "\ud800"]),
            inner,
        ),
    ),
    max_leaves=10,
)
"""What another program may have stored, which the library takes for JSON."""


def refused(constant: str) -> Any:
    raise AssertionError(constant)


def by_the_long_path(state: bytes) -> Published:
    with patch.object(wire, "_decode_usual", side_effect=msgspec.DecodeError):
        return publish(state, TOPIC, *PLACE)


def given_back(published: Published) -> Any:
    created = usual_aggregate(TOPIC) if published.created is None else published.created
    tree = restore(published.value, published.kinds, published.class_version, created)
    assert (tree.pop("originator_id"), tree.pop("originator_version")) == PLACE
    return json.loads(state_of(tree))


def exactly(tree: Any) -> str:
    """Return a tree as text that tells types, the order of keys, NaN and -0.0."""
    return repr(tree)


@given(STATES)
@example({"class_version": 2})
@example({"class_version": 2, "a": 1})
@example({"a": 1, "class_version": 2**70})
@example({"a": 1, "class_version": True})
@example({"a": 1, "class_version": 1})
@example({"a": [float("nan")], "b": float("-inf"), "c": -0.0, "d": [1.0, float("inf")]})
@example({"a": 2**70, "b": float(2**70), "c": 5.0, "d": 5e-324})
@example(
    {
        "a": UUID(int=1),
        "b": [UUID(int=1)],
        "c": [UUID(int=1), None],
        "d": Pair(UUID(int=1), Pair(1, [2])),
    }
)
@example({"a": [Pair(1, UUID(int=1)), Pair([], float("nan"))], "b": Pair(float("nan"), 1)})
@example({"originator_topic": UUID(int=1)})
@example({"originator_topic": "shop.domain:Order", "timestamp": None})
@example({"originator_topic": "other:Basket"})
@example({"originator_topic": "nowhere"})
@example({"_type_": "uuid_hex"})
@example({"timestamp": datetime(1, 1, 1), "b": Decimal("sNaN")})  # noqa: DTZ001
def test_a_stored_state_comes_back_with_its_types_and_order(state: dict[str, Any]) -> None:
    stored = TRANSCODER.encode(state)

    published = publish(stored, TOPIC, *PLACE)

    again = given_back(published)
    assert exactly(again) == exactly(json.loads(stored))
    decoded, expected = (TRANSCODER.decode(each) for each in (state_of(again), stored))
    assert exactly(decoded) == exactly(expected)
    assert published == by_the_long_path(stored)
    json.loads(published.value, parse_constant=refused)


@given(st.dictionaries(NAMES, ANY_JSON, max_size=4), st.booleans())
@example({"a": {"_data_": "00000000000000000000000000000001", "_type_": "uuid_hex"}}, True)
@example({"a": {"_type_": "\ud800", "_data_": 1}, "\ud800": {"_type_": "x", "_data_": 1}}, True)
@example({"originator_topic": "\ud800"}, True)
def test_what_another_program_has_stored_comes_back_or_is_refused(
    tree: dict[str, Any], ascii_only: bool
) -> None:
    try:
        stored = json.dumps(tree, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        stored = json.dumps(tree).encode()
    try:
        published = publish(stored, TOPIC, *PLACE)
    except StateError:
        with pytest.raises(StateError):
            by_the_long_path(stored)
        return

    # The order of the two keys of a wrapper means nothing.
    again, expected = (
        sorted_wrappers(each) for each in (given_back(published), json.loads(stored))
    )
    assert exactly(again) == exactly(expected)
    longer = by_the_long_path(stored)
    assert exactly(sorted_wrappers(given_back(longer))) == exactly(expected)
    assert published._replace(value=b"") == longer._replace(value=b"")
    json.loads(published.value, parse_constant=refused)


def sorted_wrappers(tree: Any) -> Any:
    """Return a tree with the keys of each wrapper in the library's order."""
    if isinstance(tree, list):
        return [sorted_wrappers(each) for each in tree]
    if isinstance(tree, dict):
        names = ["_type_", "_data_"] if set(tree) == {"_type_", "_data_"} else list(tree)
        return {name: sorted_wrappers(tree[name]) for name in names}
    return tree


@pytest.mark.parametrize("number", ["1e400", "-1E999", "NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize(
    "around", ["%s", "[%s]", "[%s,1]", '{"b":%s}', '{"_type_":"x","_data_":%s}']
)
def test_a_number_that_json_does_not_have_comes_back(number: str, around: str) -> None:
    stored = f'{{"a":{around % number}}}'.encode()

    published = publish(stored, TOPIC, *PLACE)

    assert exactly(given_back(published)) == exactly(json.loads(stored))
    json.loads(published.value, parse_constant=refused)
    assert json.loads(published.value, parse_float=Decimal) == json.loads(published.value)


@pytest.mark.parametrize("depth", [10, 400, 600, 800])
@pytest.mark.parametrize("innermost", [[], float("nan"), "\ud800"])
def test_what_is_nested_as_deep_as_the_library_reads_comes_back(
    depth: int, innermost: object
) -> None:
    stored = b'{"a":%b%b%b}' % (b"[" * depth, json.dumps(innermost).encode(), b"]" * depth)

    again = given_back(publish(stored, TOPIC, *PLACE))

    assert state_of(again) == state_of(json.loads(stored))


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"originator_id":"x"}',
        b'{"originator_version":1}',
        b'{"a":{"_type_":"_float_","_data_":"NaN"}}',
        b'{"a":[[{"_data_":1,"_type_":"_float_"}]]}',
    ],
)
def test_what_the_library_does_not_store_is_refused(state: bytes) -> None:
    with pytest.raises(StateError):
        publish(state, TOPIC, *PLACE)


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        (b"{}", b'{"a":"uuid_hex"}'),
        (b'{"a":1}', b'{"a":["uuid_hex"]}'),
        (b'{"a":[1]}', b'{"a":[]}'),
        (b'{"a":1}', b'{"a":1}'),
        (b'{"a":1}', b"\xff"),
        (b'{"a":1}', b"[]"),
        (b'{"a":"one"}', b'{"a":"_float_"}'),
        (b'{"a":[]}', b'{"a":"_float_"}'),
        (b'{"a":[{"_type_":"_float_","_data_":[]}]}', b""),
        (b"[]", b""),
        (b"{", b""),
    ],
)
def test_what_was_not_published_is_refused(value: bytes, kinds: bytes) -> None:
    with pytest.raises(StateError):
        restore(value, kinds, 1, "")


@given(ANY_JSON, ANY_JSON)
def test_any_value_and_header_give_a_tree_or_are_refused(value: object, kinds: object) -> None:
    try:
        tree = restore(json.dumps(value).encode(), json.dumps(kinds).encode(), 2, "a:B")
    except StateError:
        return
    assert json.loads(state_of(tree)) is not None


AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
of_order: Any = partial(dict, originator_topic="shop.domain:Order")


@pytest.mark.parametrize(
    ("state", "attributes", "kinds"),
    [
        ({"a": UUID(PLACE[0])}, {"a": PLACE[0]}, {"a": "uuid_hex"}),
        ({"a": AT}, {"a": "2026-03-01T12:30:00Z"}, {"a": "datetime_iso"}),
        ({"a": Decimal("1.50")}, {"a": "1.50"}, {"a": "decimal_str"}),
        ({"a": [AT, AT]}, {"a": ["2026-03-01T12:30:00Z"] * 2}, {"a": ["datetime_iso"]}),
        ({"a": date(2026, 3, 1)}, {"a": "2026-03-01"}, {"a": "date_iso"}),
        ({"a": float("nan")}, {"a": "NaN"}, {"a": "_float_"}),
        ({"a": []}, {"a": []}, {}),
        (of_order(), {"originator_topic": "Order"}, {}),
        (
            {"a": [Decimal(1), 1]},
            {"a": [{"_type_": "decimal_str", "_data_": "1"}, 1]},
            {},
        ),
        ({"a": {"b": AT}}, {"a": {"b": TRANSCODER._encode_obj(AT)}}, {}),
    ],
)
def test_what_is_published_is_as_anyone_would_write_it(
    state: dict[str, Any], attributes: dict[str, Any], kinds: dict[str, Any]
) -> None:
    published = publish(TRANSCODER.encode(state), TOPIC, *PLACE)

    assert json.loads(published.value) == {
        **attributes,
        "originator_id": PLACE[0],
        "originator_version": PLACE[1],
    }
    assert json.loads(published.kinds or b"{}") == kinds


@pytest.mark.parametrize(
    ("state", "version", "created"),
    [
        ({}, 1, None),
        ({"class_version": 2}, 2, None),
        (of_order(class_version=7), 7, None),
        ({"class_version": 2, "a": 1}, 2, None),
        ({"originator_topic": "elsewhere:Order"}, 1, "elsewhere:Order"),
        ({"originator_topic": "shop.domain:Basket"}, 1, "shop.domain:Basket"),
        ({"originator_topic": None}, 1, None),
    ],
)
def test_the_version_that_was_stored_and_an_unusual_aggregate_are_told(
    state: dict[str, Any], version: int, created: str | None
) -> None:
    published = publish(TRANSCODER.encode(state), TOPIC, *PLACE)

    assert (published.class_version, published.created) == (version, created)
