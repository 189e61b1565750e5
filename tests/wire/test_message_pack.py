"""MessagePack as plain JSON, and back into the very same bytes."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsourcing_kafka.producer.wire.message_pack import publish, restore
from eventsourcing_kafka.producer.wire.state import StateError

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
EXT = msgspec.msgpack.Ext(7, b"\x00\xff")

NUMBERS = st.floats(allow_nan=False) | st.just(float("nan"))
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | NUMBERS
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.builds(msgspec.msgpack.Ext, st.integers(0, 127), st.binary())
)
KEYS = st.text() | st.integers(-(2**63), 2**64 - 1) | st.sampled_from(["_type_", "_data_"])
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=10
)


@given(st.dictionaries(KEYS, TREES) | st.lists(TREES))
def test_whatever_is_in_it_comes_back(value: Any) -> None:
    stored = msgspec.msgpack.encode(value)
    published = publish(stored)
    assert published is not None
    json.loads(published.value)
    assert restore(published.value, published.kinds) == stored


@pytest.mark.parametrize(
    ("value", "published", "kinds"),
    [
        ({"a": 1, "b": [True, None, "c"]}, {"a": 1, "b": [True, None, "c"]}, None),
        ({"at": AT}, {"at": "2026-03-01T12:30:00Z"}, {"at": "timestamp"}),
        ({"a": b"\x00\xff"}, {"a": "AP8="}, {"a": "bin"}),
        ({"a": [b"\x00", b"\xff"]}, {"a": ["AA==", "/w=="]}, {"a": ["bin"]}),
        ({"a": float("-inf")}, {"a": "-Infinity"}, {"a": "float"}),
        ({"a": {1: "b"}}, {"a": [[1, "b"]]}, {"a": "map"}),
        ({"a": EXT}, {"a": [7, "AP8="]}, {"a": "ext"}),
        ({"a": {"b": b"\xff"}}, {"a": {"b": {"_type_": "bin", "_data_": "/w=="}}}, None),
        ({"a": [b"\xff", 1]}, {"a": [{"_type_": "bin", "_data_": "/w=="}, 1]}, None),
        (
            {"a": {"_type_": "bin", "_data_": "x"}},
            {"a": [["_type_", "bin"], ["_data_", "x"]]},
            {"a": "map"},
        ),
        ([1, "a"], [1, "a"], None),
        ({1: 2}, {"_type_": "map", "_data_": [[1, 2]]}, None),
    ],
)
def test_what_it_looks_like(value: Any, published: Any, kinds: Any) -> None:
    stored = msgspec.msgpack.encode(value)
    found = publish(stored)
    assert found is not None
    assert json.loads(found.value) == published
    assert (json.loads(found.kinds) if found.kinds else None) == kinds
    assert restore(found.value, found.kinds) == stored


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",  # No map.
        b'{"a": 1}',  # JSON.
        b"\x81\xa1a\xca\x3f\x80\x00\x00",  # A number of four bytes, which the library never writes.
        b"\x81\xa1a\xd1\x00\x01",  # A number in more bytes than it needs.
        b"\x82\xa1a\x01\xa1a\x02",  # A key that is there twice.
        b"\x81\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x00\x01",  # One of the many that are no number.
        b"\x81\xa1a\xa1\xff",  # Text that is none.
        b"\x91" * 5000 + b"\x01",  # Deeper than anybody goes.
    ],
)
def test_what_would_not_come_back_is_not_published_so(data: bytes) -> None:
    assert publish(data) is None


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        (b"{", b""),
        (b'{"a": 1}', b'{"b":"bin"}'),
        (b'{"a": "-"}', b'{"a":"bin"}'),
        (b'{"a": 1}', b'{"a":"timestamp"}'),
        (b'{"a": 1}', b'{"a":"unheard-of"}'),
        (b'{"a": [1]}', b'{"a":"ext"}'),
        (b"[1]", b'{"a":"bin"}'),
        (b'{"a": {"_type_": ["x"], "_data_": 1}}', b""),
        (b"[" * 5000 + b"]" * 5000, b""),
    ],
)
def test_what_was_published_of_nothing_is_an_error(value: bytes, kinds: bytes) -> None:
    with pytest.raises(StateError):
        restore(value, kinds)
