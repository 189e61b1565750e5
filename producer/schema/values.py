"""JSON Schemas of what is published of values, from the types that they are annotated with.

They follow `producer.wire.state`. A value of a type that JSON does not have is stored by a
transcoding, in a wrapper that names its kind. Of an attribute, and of a list whose elements are of
one kind, what is in the wrapper is published; anywhere deeper the wrapper stays.

What a transcoding of the application's own makes is what its `encode` is annotated to return: text
for `-> str`, an object for a `TypedDict`. Where that says too little, the class has a JSON Schema
as its attribute `json_schema`, without references to others; where nothing is said, it is anything:

    class DateAsISO(Transcoding):
        type = date
        name = "date_iso"
        json_schema = {"type": "string", "format": "date"}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from datetime import date, datetime
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from eventsourcing.persistence import DatetimeAsISO, DecimalAsStr, Transcoding, UUIDAsHex

from eventsourcing_kafka.producer.wire.state import (
    DATA,
    DATETIME_ISO,
    DECIMAL_STR,
    NOT_FINITE,
    TYPE,
    UUID_HEX,
)

Schema = dict[str, Any]

INTEGER: Schema = {"type": "integer", "format": "int64"}
UUID_TEXT: Schema = {"type": "string", "format": "uuid"}
NOT_FINITE_TEXT: Schema = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
DECIMAL_TEXT: Schema = {
    "type": "string",
    "pattern": r"^-?([0-9]+(\.[0-9]+)?(E[+-]?[0-9]+)?|s?NaN[0-9]*|Infinity)$",
}
_TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{6})?"
TIME_TEXT: Schema = {"type": "string", "pattern": f"^{_TIME}(Z|[+-][0-9]{{2}}:[0-9]{{2}})?$"}
"""Without an offset if it is stored without one, so that it is no `date-time` of JSON Schema."""

_NULL: Schema = {"type": "null"}
_NATIVE: Mapping[type, Schema] = {
    bool: {"type": "boolean"},
    int: INTEGER,
    str: {"type": "string"},
    NoneType: _NULL,
}
"""In JSON as they are: instances of subclasses too, which the library stores without a wrapper."""

_ARRAYS = (list, tuple, Sequence, MutableSequence)
_OBJECTS = (dict, Mapping, MutableMapping)
_STORED_BY_NAME = (*_NATIVE, float, list, tuple, dict)
_QUALIFIERS = (Annotated, Final, Required, NotRequired)


class Kind(NamedTuple):
    """What a transcoding stores."""

    name: str
    published: Schema
    """What is published of it without its wrapper."""
    data: Schema
    """What is in its wrapper."""

    @property
    def wrapped(self) -> Schema:
        """The schema of its wrapper."""
        return {
            "type": "object",
            "properties": {TYPE: {"type": "string", "const": self.name}, DATA: self.data},
            "required": [TYPE, DATA],
        }


_NUMBER: Schema = {"type": "number"}
_NOT_A_NUMBER = Kind(NOT_FINITE, NOT_FINITE_TEXT, NOT_FINITE_TEXT)
_USUAL: Mapping[type[Transcoding], Kind] = {
    UUIDAsHex: Kind(UUID_HEX, UUID_TEXT, {"type": "string", "pattern": "^[0-9a-f]{32}$"}),
    DecimalAsStr: Kind(DECIMAL_STR, DECIMAL_TEXT, DECIMAL_TEXT),
    DatetimeAsISO: Kind(DATETIME_ISO, TIME_TEXT, {"type": "string"}),
}


class Elements(NamedTuple):
    """What is in a list: as many as there are types, or any number of the only one."""

    types: Sequence[Any]
    fixed: bool


class Values:
    """Describes values, as an application with such transcodings stores and publishes them."""

    def __init__(self, transcodings: Iterable[Transcoding]) -> None:
        self._transcodings = list(transcodings)
        self._kinds: dict[str, Kind] = {}
        self._open: list[Any] = []

    def attribute(self, hint: Any) -> Schema:
        """Return what is published of an attribute."""
        return any_of(schema for each in alternatives(hint) for schema in self._unwrapped(each))

    def nested(self, hint: Any) -> Schema:
        """Return what is published of a value inside of others."""
        return any_of(
            found.wrapped if isinstance(found, Kind) else found for found in self._described(hint)
        )

    def _unwrapped(self, hint: Any) -> Iterator[Schema]:
        if elements := elements_of(hint):
            yield from self._lists(elements)
            return
        for found in self._described(hint):
            yield found.published if isinstance(found, Kind) else found

    def _lists(self, elements: Elements) -> Iterator[Schema]:
        """Yield a list of each kind that all of its elements can be, and that of all else."""
        places = [list(self._described(each)) for each in elements.types]
        kinds = [each for each in (places[0] if places else ()) if isinstance(each, Kind)]
        common = [kind for kind in kinds if all(kind in found for found in places)]
        for kind in common:
            yield array([kind.published] * len(places), fixed=elements.fixed)
        if len(common) != 1 or any(found != common for found in places):
            nested = [self.nested(each) for each in elements.types]
            yield array(nested, fixed=elements.fixed)

    def _described(self, hint: Any) -> Iterator[Kind | Schema]:
        """Yield what is stored of the values of a type."""
        for each in alternatives(hint):
            if elements := elements_of(each):
                yield array([self.nested(one) for one in elements.types], fixed=elements.fixed)
            elif is_typeddict(each):
                yield self._object(each)
            elif get_origin(each) is Literal:
                yield _enumeration(get_args(each))
            else:
                yield from self._of_class(each)

    def _of_class(self, hint: Any) -> Iterator[Kind | Schema]:
        cls = get_origin(hint) or hint
        if cls in _OBJECTS or (isinstance(cls, type) and issubclass(cls, dict)):
            yield {"type": "object", **self._values_of(get_args(hint))}
        elif not isinstance(cls, type):
            yield {}
        elif issubclass(cls, float):
            yield from (_NUMBER, _NOT_A_NUMBER)
        elif issubclass(cls, (int, str)) and issubclass(cls, Enum):
            yield _enumeration([each.value for each in cls])
        elif native := next((_NATIVE[each] for each in _NATIVE if issubclass(cls, each)), None):
            yield native
        else:
            yield from self._transcoded(cls)

    def _values_of(self, types: Sequence[Any]) -> Schema:
        return {"additionalProperties": self.nested(types[1])} if len(types) == 2 else {}  # noqa: PLR2004

    def _transcoded(self, cls: type) -> Iterator[Kind | Schema]:
        """Yield what transcodings store of a class, and of its subclasses; else anything."""
        found = [each for each in self._transcodings if _is_kind_of(each.type, cls)]
        if not found or any(_is_kind_of(native, cls) for native in _STORED_BY_NAME):
            yield {}
        for transcoding in found:
            yield self._kind(transcoding)

    def _kind(self, transcoding: Transcoding) -> Kind:
        name = transcoding.name
        if name not in self._kinds:
            usual = _USUAL.get(type(transcoding))
            self._kinds[name] = Kind(name, {"title": name}, {})  # For one that has itself in it.
            self._kinds[name] = usual or self._own_kind(transcoding)
        return self._kinds[name]

    def _own_kind(self, transcoding: Transcoding) -> Kind:
        data = getattr(transcoding, "json_schema", None)
        if data is None:
            data = self.nested(_returned(transcoding))
        return Kind(transcoding.name, {"title": transcoding.name, **data}, data)

    def _object(self, cls: Any) -> Schema:
        if cls in self._open:  # It has itself in it.
            return {"type": "object"}
        self._open.append(cls)
        types = {name: self.nested(hint) for name, hint in get_type_hints(cls).items()}
        self._open.pop()
        required = {"required": sorted(cls.__required_keys__)} if cls.__required_keys__ else {}
        return {"type": "object", "properties": types, **required}


def alternatives(hint: Any) -> Iterator[Any]:
    """Yield the types of which a value may be: those of a union, and what has a name by itself."""
    origin = get_origin(hint)
    if origin in {Union, UnionType}:
        for each in get_args(hint):
            yield from alternatives(each)
    elif origin in _QUALIFIERS:
        yield from alternatives(get_args(hint)[0])
    elif isinstance(hint, TypeVar):
        for each in hint.__constraints__ or [hint.__bound__ or Any]:
            yield from alternatives(each)
    elif (named := getattr(hint, "__supertype__", None)) is not None:  # NewType
        yield from alternatives(named)
    elif type(hint).__name__ == "TypeAliasType":  # Python 3.12 has it.
        yield from alternatives(hint.__value__)
    else:
        yield hint


def elements_of(hint: Any) -> Elements | None:
    """Return what is in a value that is stored as a list; None for all else."""
    cls, types = get_origin(hint) or hint, get_args(hint)
    if cls is tuple and types:
        return Elements(types[:1], fixed=False) if types[1:] == (...,) else Elements(types, True)
    if cls in _ARRAYS:
        return Elements(types or [Any], fixed=False)
    if not isinstance(cls, type) or not issubclass(cls, (list, tuple)):
        return None
    if hasattr(cls, "_fields"):  # A NamedTuple
        return Elements(list(get_type_hints(cls).values()), fixed=True)
    return Elements(types[:1] or [Any], fixed=False)


def any_of(schemas: Iterable[Schema]) -> Schema:
    """Return the schema of what is of one of some; null is told as one more type, if it can be."""
    found: list[Schema] = []
    for schema in schemas:
        found += [each for each in schema.get("anyOf", [schema]) if each not in found]
    if {} in found:
        return {}
    if _NULL in found:
        typed = next((n for n, each in enumerate(found) if _is_typed(each)), None)
        if typed is not None:
            found[typed] = _nullable(found[typed])
            found.remove(_NULL)
    return found[0] if len(found) == 1 else {"anyOf": found}


def _is_typed(schema: Schema) -> bool:
    return isinstance(schema.get("type"), str) and schema != _NULL and "const" not in schema


def _nullable(schema: Schema) -> Schema:
    values = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **values}


def array(elements: Sequence[Schema], *, fixed: bool) -> Schema:
    """Return the schema of a list: of these elements, or of any number that are as the first."""
    if not fixed:
        return {"type": "array", "items": elements[0]} if elements[0] else {"type": "array"}
    if not elements:
        return {"type": "array", "maxItems": 0}
    return {
        "type": "array",
        "items": list(elements),
        "additionalItems": False,
        "minItems": len(elements),
    }


def _enumeration(values: Sequence[Any]) -> Schema:
    """Return the schema of one of some values, each of which JSON has as it is."""
    stored = [each.value if isinstance(each, Enum) else each for each in values]
    by_type: dict[type, list[Any]] = {}
    for value in stored:
        by_type.setdefault(type(value), []).append(value)
    return any_of(_enumeration_of(cls, values) for cls, values in by_type.items())


def _enumeration_of(cls: type, values: list[Any]) -> Schema:
    if cls is NoneType:
        return _NULL
    return {**_NATIVE[cls], "enum": values} if cls in _NATIVE else {}


def _returned(transcoding: Transcoding) -> Any:
    try:
        return get_type_hints(transcoding.encode).get("return", Any)
    except NameError:  # It names what only a type checker imports.
        return Any


def _is_kind_of(cls: type, other: type) -> bool:
    try:
        # Nobody means a time who says that it is a date.
        return issubclass(cls, other) and (cls, other) != (datetime, date)
    except TypeError:  # A protocol that is not for run time.
        return False
