"""MessagePack in another notation, plain JSON, which can be turned back into the very same bytes.

What JSON does not have is in a wrapper, an object of its kind, `_type_`, and its text or other
data, `_data_`, as the library's own JSON has it. An attribute that is wrapped, and a list of such
of one kind, is published without, and a header names it.

| kind | what it is | as JSON |
|---|---|---|
| `timestamp` | MessagePack's own extension for a time | RFC 3339 |
| `bin` | bytes | base64 |
| `float` | a number that JSON does not have | `NaN`, `Infinity`, `-Infinity` |
| `map` | a map with keys that are no text, or are those of a wrapper | a list of pairs |
| `ext` | any other extension type | a list of its code and base64 |

No class is needed for that, neither way. MessagePack has several ways to write many a value; what
is not written in the shortest one, as the library's mapper writes it, does not come back, and so is
not published as JSON.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from eventsourcing_kafka.producer.wire.state import (
    DATA,
    MOST_PATTERNS,
    TYPE,
    Kinds,
    StateError,
    kinds_in,
)

TIMESTAMP, BIN, FLOAT, MAP, EXT = "timestamp", "bin", "float", "map", "ext"
PLAIN = (str, int, bool, type(None))
"""What JSON has of its own, and can't be mistaken."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


class Published(NamedTuple):
    """What is published of a value in MessagePack."""

    value: bytes
    """The same as JSON."""
    kinds: bytes
    """JSON of which attributes were wrapped, and as what; empty if none was."""
    time: datetime | None
    """The attribute `timestamp`, if it is a time."""


def publish(data: bytes) -> Published | None:
    """Return a map, or a list, as JSON; None if it is none, or would not come back as it is."""
    try:
        found = _unpack(data)
        if type(found) not in (dict, list):
            return None
        tree = _as_json(found)
        kinds = _unwrapped(tree) if type(tree) is dict and _kind_of(tree) is None else b""
        value = _encode(tree)
        if restore(value, kinds) != data:
            return None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None  # It is not MessagePack, or none that the library's mapper writes.
    time = found.get("timestamp") if type(found) is dict else None
    return Published(value, kinds, time if isinstance(time, datetime) else None)


def restore(value: bytes, kinds: bytes) -> bytes:
    """Return the MessagePack that a value was published of. Raises `StateError`."""
    try:
        tree = _decode(value)
        if named := kinds_in(kinds):
            tree = {**tree, **{name: _wrapped(tree[name], kind) for name, kind in named.items()}}
        return _pack(_as_stored(tree))
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise StateError(f"it is no MessagePack as JSON: {error!r}") from error


def _as_json(value: Any) -> Any:
    """Return what JSON has for a value, with wrappers."""
    if type(value) in PLAIN:
        return value
    return _WRAPPING[type(value)](value)


def _list_as_json(values: Sequence[Any]) -> Any:
    return [_as_json(each) for each in values]


def _map_as_json(value: dict[Any, Any]) -> Any:
    if all(type(key) is str for key in value) and value.keys() != {TYPE, DATA}:
        return {key: _as_json(each) for key, each in value.items()}
    return _wrapper(MAP, [[_as_json(key), _as_json(each)] for key, each in value.items()])


def _number_as_json(value: float) -> Any:
    if isfinite(value):
        return value
    return _wrapper(FLOAT, json.dumps(value))  # Which writes NaN, Infinity and -Infinity.


def _time_as_json(value: datetime) -> Any:
    return _wrapper(TIMESTAMP, value.isoformat().replace("+00:00", "Z"))


_WRAPPING: Mapping[type, Callable[[Any], Any]] = {
    dict: _map_as_json,
    list: _list_as_json,
    tuple: _list_as_json,  # As a key, a list is one.
    float: _number_as_json,
    bytes: lambda value: _wrapper(BIN, b64encode(value).decode()),
    datetime: _time_as_json,
    msgspec.msgpack.Ext: lambda value: _wrapper(EXT, [value.code, b64encode(value.data).decode()]),
}


def _as_stored(tree: Any) -> Any:
    """Return the value that JSON was made of."""
    if type(tree) is list:
        return [_as_stored(each) for each in tree]
    if type(tree) is not dict:
        return tree
    if tree.keys() != {TYPE, DATA}:
        return {key: _as_stored(each) for key, each in tree.items()}
    return _UNWRAPPING[tree[TYPE]](tree[DATA])


def _map(pairs: Any) -> Any:
    return {_key(_as_stored(key)): _as_stored(each) for key, each in pairs}


def _key(value: Any) -> Any:
    return tuple(_key(each) for each in value) if type(value) is list else value


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)


_UNWRAPPING: Mapping[str, Callable[[Any], Any]] = {
    TIMESTAMP: datetime.fromisoformat,
    BIN: _bytes,
    FLOAT: float,
    MAP: _map,
    EXT: lambda data: msgspec.msgpack.Ext(data[0], _bytes(data[1])),
}


def _wrapper(kind: str, data: Any) -> dict[str, Any]:
    return {TYPE: kind, DATA: data}


def _unwrapped(tree: dict[str, Any]) -> bytes:
    """Take off the wrappers of attributes; return a header that names them."""
    kinds: list[tuple[str, str, bool]] = []
    for name, value in tree.items():
        if (kind := _kind_of(value)) is not None:
            tree[name] = value[DATA]
            kinds.append((name, kind, False))
        elif type(value) is list and (kind := _kind_of_all(value)) is not None:
            tree[name] = [each[DATA] for each in value]
            kinds.append((name, kind, True))
    return _kinds_as_text(*kinds) if kinds else b""


@lru_cache(MOST_PATTERNS)
def _kinds_as_text(*kinds: tuple[str, str, bool]) -> bytes:
    named: Kinds = {name: [kind] if in_list else kind for name, kind, in_list in kinds}
    return json.dumps(named, separators=(",", ":")).encode()


def _kind_of(value: Any) -> str | None:
    if type(value) is not dict or value.keys() != {TYPE, DATA}:
        return None
    kind: str = value[TYPE]
    return kind


def _kind_of_all(values: list[Any]) -> str | None:
    """Return the kind of what is wrapped in a list, if that is all that is in it."""
    kind = _kind_of(values[0]) if values else None
    return kind if all(_kind_of(value) == kind for value in values) else None


def _wrapped(value: Any, kind: str | list[str]) -> Any:
    if isinstance(kind, str):
        return _wrapper(kind, value)
    return [_wrapper(kind[0], each) for each in value]
