"""The stored state of an event in another notation, plain JSON, which can be turned back into it.

The library's JSON has a wrapper where a value is of a type that JSON does not have. Other languages
need not know those: an attribute that is wrapped, and a list of such of one kind, is published
without, and a header names it. Wrappers anywhere else are as right as they are, and stay.

No class is needed for that, neither way: nothing is upcast, defaulted or checked. What is stored as
usual takes a path that is a third as long, and comes to the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

import msgspec
from eventsourcing.persistence import DatetimeAsISO, DecimalAsStr, UUIDAsHex

TYPE, DATA = "_type_", "_data_"
ID, VERSION = "originator_id", "originator_version"
CREATED = "originator_topic"
"""The attribute of an event that creates an aggregate: the topic of its class."""
CLASS_VERSION = "class_version"

UUID_HEX = UUIDAsHex.name
DATETIME_ISO = DatetimeAsISO.name
DECIMAL_STR = DecimalAsStr.name
NOT_FINITE = "_float_"
"""The kind of a number that JSON does not have. The library stores it as JavaScript writes it."""

MOST_VERSIONS = 2**63 - 1
"""The largest number that a header has."""

MOST_PATTERNS = 1000
"""Headers that are kept, made or read. A topic has some; who makes up more gets none kept."""

Kinds = Mapping[str, str | list[str]]
"""The kind of each attribute that is published without its wrapper; in a list, of each element."""

Scalar = str | int | float | bool | None
"""What JSON has of its own, but for what has others in it."""

Unwrapped = tuple[str, str, bool]
"""The name of an attribute, its kind, and whether it is a list of such."""

TIMESTAMP: Unwrapped = ("timestamp", DATETIME_ISO, False)
KEPT = object()
UTC_OFFSET = "+00:00"

_encode = msgspec.json.Encoder().encode
_uuid_hex = re.compile(
    r"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})", re.ASCII
)
_rfc3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?([+-]\d\d:\d\d)?", re.ASCII)


class StateError(ValueError):
    """What is stored is not as the library stores it, or what was published is not of that."""


class NoJSONError(StateError):
    """What is stored is no JSON at all, or no object."""


class Published(NamedTuple):
    """What is published of a state."""

    value: bytes
    """JSON of the attributes, and of which event it is."""
    kinds: bytes
    """JSON of which of them were wrapped, and as what; empty if none was."""
    class_version: int
    created: str | None
    """The topic of the aggregate that the event creates, if it is not the usual one."""
    timestamp: str | None
    """When it happened, if the event says so: RFC 3339, without a zone if it has none."""


def publish(state: bytes, topic: str, originator_id: str, version: int) -> Published:
    """Return what is published of a state that the library's JSON transcoder has made.

    Raises `StateError` if that could not be turned back.
    """
    tree = _decoded(state)
    if ID in tree or VERSION in tree:
        raise StateError(f"it has an attribute {ID} or {VERSION}, which are stored beside it")
    class_version = _version_of(tree) if CLASS_VERSION in tree else 1
    created = tree.get(CREATED)
    if type(created) is str:
        tree[CREATED] = created.rpartition(":")[2]
    kinds = _unwrapped(tree)
    tree[ID] = originator_id
    tree[VERSION] = version
    return Published(
        _encoded(tree),
        _kinds_as_text(*kinds) if kinds else b"",
        class_version,
        created if type(created) is str and created != usual_aggregate(topic) else None,
        tree["timestamp"] if TIMESTAMP in kinds else None,
    )


def restore(value: bytes, kinds: bytes, class_version: int, created: str) -> dict[str, Any]:
    """Return the tree of the state that a value was published of, its ID and version in it.

    `created` is the topic of the aggregate that the event creates, if it creates one. Raises
    `StateError`.
    """
    tree = _json_object(value, _READING if NOT_FINITE.encode() in value else _PLAIN)
    named = kinds_in(kinds)
    for name, kind in named.items():
        if name not in tree:
            raise StateError(f"it has no attribute {name!r}, which its headers name")
        tree[name] = _wrapped(kind, tree[name])
    if names_aggregate(tree, named):
        tree[CREATED] = created
    if class_version > 1 and CLASS_VERSION not in tree:
        tree[CLASS_VERSION] = class_version
    return tree


def names_aggregate(tree: Mapping[str, Any], kinds: Kinds) -> bool:
    """Tell whether what is published names the aggregate that its event creates."""
    return type(tree.get(CREATED)) is str and CREATED not in kinds


def state_of(tree: Mapping[str, Any]) -> bytes:
    """Return a state as the library's JSON transcoder stores it. Raises `StateError`."""
    try:
        return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # A lone surrogate, which another program has stored escaped.
        return json.dumps(tree, separators=(",", ":")).encode()
    except RecursionError as error:
        raise StateError("it is nested too deep") from error


@lru_cache(MOST_PATTERNS)
def kinds_in(text: bytes) -> Kinds:
    """Return the kinds that a header names. Raises `StateError` if it names none."""
    if not text:
        return {}
    try:
        return msgspec.convert(json.loads(text.decode()), dict[str, str | list[str]])
    except (ValueError, RecursionError) as error:
        raise StateError(f"its header names no kinds: {error}") from error


@lru_cache(MOST_PATTERNS)
def usual_aggregate(topic: str) -> str:
    """Return the topic of the class that an event's class is defined in."""
    module, _, name = topic.partition(":")
    return f"{module}:{name.rpartition('.')[0]}"


class _Wrapper(msgspec.Struct, frozen=True, gc=False, tag_field=TYPE, forbid_unknown_fields=True):
    """What the library stores for a value of a type that JSON does not have."""

    data: str = msgspec.field(name=DATA)


class _ID(_Wrapper, frozen=True, gc=False, tag=UUID_HEX):
    pass


class _Time(_Wrapper, frozen=True, gc=False, tag=DATETIME_ISO):
    pass


class _Decimal(_Wrapper, frozen=True, gc=False, tag=DECIMAL_STR):
    pass


_KINDS: Mapping[type, str] = {_ID: UUID_HEX, _Time: DATETIME_ISO, _Decimal: DECIMAL_STR}
_decode_usual = msgspec.json.Decoder(dict[str, Scalar | _ID | _Time | _Decimal]).decode
"""What is stored as usual. All else is an error, and takes the longer path."""


def _decoded(state: bytes) -> dict[str, Any]:
    try:
        return _decode_usual(state)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _json_object(state, _WRITING)


def _json_object(text: bytes, decoder: json.JSONDecoder) -> dict[str, Any]:
    try:
        tree = decoder.decode(text.decode())
    except StateError:
        raise
    except (ValueError, RecursionError) as error:
        raise NoJSONError(f"it is no JSON: {error}") from error
    if not isinstance(tree, dict):
        raise NoJSONError("it is no JSON object")
    return tree


def _encoded(tree: Mapping[str, Any]) -> bytes:
    try:
        return _encode(tree)
    except UnicodeEncodeError:
        return json.dumps(tree, separators=(",", ":")).encode()
    except RecursionError as error:
        raise StateError("it is nested too deep") from error


def _version_of(tree: dict[str, Any]) -> int:
    """Return the class version, and take it out, if it is where the library puts it.

    A class may have it among its attributes, and then it is stored in their order.
    """
    version = tree.get(CLASS_VERSION)
    if type(version) is not int or not 1 < version <= MOST_VERSIONS:
        return 1
    if next(reversed(tree)) == CLASS_VERSION:
        del tree[CLASS_VERSION]
    return version


def _unwrapped(tree: dict[str, Any]) -> list[Unwrapped]:
    """Take off the wrappers of attributes, and return which they were."""
    kinds: list[Unwrapped] = []
    for name, value in tree.items():
        in_list = type(value) is list
        if kind := _KINDS.get(type(value)):
            plain = _plain(kind, value.data)
        elif type(value) is dict and (kind := _kind_of(value)) is not None:
            plain = _plain(kind, value[DATA])
        elif in_list and (kind := _kind_of_all(value)) is not None:
            elements = [_plain(kind, each[DATA]) for each in value]
            plain = KEPT if KEPT in elements else elements
        else:
            continue
        if plain is not KEPT:
            kinds.append((name, kind, in_list))
            tree[name] = plain
    return kinds


@lru_cache(MOST_PATTERNS)
def _kinds_as_text(*kinds: Unwrapped) -> bytes:
    named = {name: [kind] if in_list else kind for name, kind, in_list in kinds}
    return json.dumps(named, separators=(",", ":")).encode()


def _kind_of(value: Any) -> str | None:
    """Return the kind of what is wrapped; None for all else."""
    if type(value) is not dict or value.keys() != {TYPE, DATA}:
        return None
    kind = value[TYPE]
    return kind if type(kind) is str else None


def _kind_of_all(values: Sequence[Any]) -> str | None:
    """Return the kind of what is wrapped in a list, if that is all that is in it."""
    kind = _kind_of(values[0]) if values else None
    return kind if all(_kind_of(value) == kind for value in values) else None


def _plain(kind: str, data: Any) -> Any:
    """Return what is published of what was wrapped; `KEPT` if that could not be turned back."""
    match kind:
        case "uuid_hex":
            parts = _uuid_hex.fullmatch(data) if type(data) is str else None
            return "-".join(parts.groups()) if parts else KEPT
        case "datetime_iso":
            if type(data) is not str or not _rfc3339.fullmatch(data):
                return KEPT
            return f"{data[:-6]}Z" if data.endswith(UTC_OFFSET) else data
        case _:
            return data


def _wrapped(kind: str | list[str], value: Any) -> Any:
    """Return what was stored of what is published."""
    if isinstance(kind, list):
        if len(kind) != 1 or not isinstance(value, list):
            raise StateError("a list that its headers name is none")
        return [_wrapped(kind[0], each) for each in value]
    if kind == UUID_HEX and isinstance(value, str):
        value = value.replace("-", "")
    elif kind == DATETIME_ISO and isinstance(value, str) and value.endswith("Z"):
        value = value[:-1] + UTC_OFFSET
    elif kind == NOT_FINITE:
        return _number(value)
    return {TYPE: kind, DATA: value}


def _wrapped_number(text: str) -> Mapping[str, str]:
    return {TYPE: NOT_FINITE, DATA: text}


def _finite(text: str) -> float | Mapping[str, str]:
    """Return a number, wrapped if it is too large for one, and so is not finite."""
    number = float(text)
    return number if isfinite(number) else _wrapped_number(json.dumps(number))


def _not_taken(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object as it is. Raises `StateError` if it would be read as a number."""
    if _kind_of(value) == NOT_FINITE:
        raise StateError(f"{NOT_FINITE} is the name of a transcoding, and means a number")
    return value


def _unwrapped_number(value: dict[str, Any]) -> Any:
    return _number(value[DATA]) if _kind_of(value) == NOT_FINITE else value


def _number(text: Any) -> float:
    if text not in ("NaN", "Infinity", "-Infinity"):
        raise StateError(f"{text!r} is no number that JSON does not have")
    return float(text)


_PLAIN = json.JSONDecoder()
_WRITING = json.JSONDecoder(
    parse_constant=_wrapped_number, parse_float=_finite, object_hook=_not_taken
)
_READING = json.JSONDecoder(object_hook=_unwrapped_number)
"""They wrap and unwrap while they read, and go as deep as the library does."""
