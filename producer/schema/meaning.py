"""What a schema of values means to who reads them, whatever it is written like.

Kept documents of the first wire format have the same values in another notation: null and integers
otherwise, times as any text, and no wrappers, since there were none. They are compared by this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from eventsourcing_kafka.producer.schema.values import (
    DECIMAL_TEXT,
    NOT_FINITE_TEXT,
    TIME_TEXT,
    UUID_TEXT,
    Schema,
    array,
)
from eventsourcing_kafka.producer.wire.state import (
    DATETIME_ISO,
    DECIMAL_STR,
    NOT_FINITE,
    UUID_HEX,
)

_SAID_ONLY = {"description", "default", "propertyNames"}
_WRAPPED = {UUID_HEX: UUID_TEXT, DATETIME_ISO: TIME_TEXT, DECIMAL_STR: DECIMAL_TEXT}
_TEXT = {"type": "string"}


class Meaning:
    """Reads the schemas of values in one document."""

    def __init__(self, document: Schema, *, first_format: bool) -> None:
        """`first_format` has it leave out all that the first wire format could not say."""
        self._definitions: dict[str, Schema] = document.get("$defs", {})
        self._first = first_format
        self._open: list[str] = []

    def of(self, schema: Any) -> Any:
        """Return a schema in the one form in which two of one meaning are equal."""
        match schema:
            case {"$ref": str(ref)}:
                return self._referred(ref)
            case {"anyOf": list(schemas)}:
                return _any_of([self.of(each) for each in schemas])
            case {"type": [str(one), "null"]}:
                return _any_of([self.of(_not_null(schema, one)), {"type": "null"}])
            case dict():
                return self._parts(self._in_one_notation(schema))
            case list():
                return [self.of(each) for each in schema]
            case _:
                return schema

    def _in_one_notation(self, schema: Schema) -> Schema:
        """Return what is written in one of two ways in the first of them."""
        match schema:
            case {"properties": {"_type_": {"const": kind}, "_data_": _}} if kind in _WRAPPED:
                return self._in_one_notation(_WRAPPED[kind])
            case {"type": "array", "prefixItems": list(items)}:
                return array(items, fixed=True)
            case {"type": "string", "format": "decimal"}:
                return DECIMAL_TEXT
            case {"type": "string"} if self._first and schema == TIME_TEXT:
                return _TEXT
            case _:
                return schema

    def _parts(self, schema: Schema) -> Schema:
        said_only = {*_SAID_ONLY, "title"} if self._first else _SAID_ONLY
        bare = {key: value for key, value in schema.items() if key not in said_only}
        if bare.get("format") == "int64":
            del bare["format"]
        if self._first and "enum" in bare:
            bare.pop("type", None)
        if "properties" in bare:  # They are compared one by one.
            return bare
        return {key: self.of(value) for key, value in bare.items()}

    def _referred(self, ref: str) -> Any:
        name = ref.rpartition("/")[2]
        if name in self._open or name not in self._definitions:
            return {"$ref": name}
        self._open.append(name)
        found = self.of(self._definitions[name])
        self._open.pop()
        return found


def _not_null(schema: Schema, one: str) -> Schema:
    """Return the other alternative of what may be null."""
    values = [each for each in schema.get("enum", ()) if each is not None]
    return {**schema, "type": one, **({"enum": values} if values else {})}


def shown(value: Any) -> str:
    """Return a schema as text."""
    return msgspec.json.encode(value).decode()


def _any_of(schemas: Sequence[Schema]) -> Schema:
    """Return alternatives in one order, without numbers' second form: they are numbers by it."""
    flat = [each for schema in schemas for each in schema.get("anyOf", [schema])]
    found = sorted((each for each in flat if not _is_not_finite(each)), key=shown)
    distinct = [each for n, each in enumerate(found) if each not in found[:n]]
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _is_not_finite(schema: Schema) -> bool:
    """Tell whether it is what a number is published as that JSON does not have."""
    match schema:
        case {"type": "array", "items": dict(items)}:
            return _is_not_finite(items)
        case {"properties": {"_type_": {"const": kind}, "_data_": _}}:
            return str(kind) == NOT_FINITE
        case {"enum": list(values)}:
            return set(map(str, values)) == set(NOT_FINITE_TEXT["enum"])
        case _:
            return False
