"""JSON Schemas of tagged decisions, and the headers of their records.

They follow `producer.wire.message_pack`. What is said of an attribute is what surely holds for each
value of its type; where that depends on the value, as for what is inside of others, nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from eventsourcing_kafka.producer.schema.headers import CLOUD_EVENT
from eventsourcing_kafka.producer.schema.values import (
    INTEGER,
    NOT_FINITE_TEXT,
    TIME_TEXT,
    UUID_TEXT,
    Schema,
)

_NATIVE: Mapping[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: INTEGER,
    NoneType: {"type": "null"},
    UUID: UUID_TEXT,
    Decimal: {"type": "string"},
}
"""What is the same wherever it is, as MessagePack has it, or stores it as text."""

_UNWRAPPED: Mapping[Any, Schema] = {
    datetime: TIME_TEXT,
    bytes: {"type": "string", "contentEncoding": "base64"},
    float: {"anyOf": [{"type": "number"}, NOT_FINITE_TEXT]},
}
"""What has a wrapper, unless it is an attribute itself."""

ANYTHING: Schema = {}


def decision_schema(cls: type[Any]) -> Schema:
    """Return the schema of the value of a decision's records."""
    if not issubclass(cls, msgspec.Struct):
        return {"properties": {}, "required": []}  # Only its mapper knows.
    if cls.__struct_config__.array_like:
        return {"type": "array", "properties": {}, "required": []}
    types = get_type_hints(cls)
    fields = msgspec.structs.fields(cls)
    described = {each.encode_name: _attribute(types[each.name]) for each in fields}
    required = [each.encode_name for each in fields if each.required]
    if (tag := cls.__struct_config__.tag) is not None:
        name = str(cls.__struct_config__.tag_field)
        described[name] = {"const": tag}
        required.append(name)
    return {"type": "object", "properties": described, "required": required}


def _attribute(hint: Any) -> Schema:
    if get_origin(hint) in (Union, UnionType):
        options = [_attribute(each) for each in get_args(hint)]
        return ANYTHING if ANYTHING in options else {"anyOf": options}
    return _UNWRAPPED.get(hint) or _native(hint)


def _native(hint: Any) -> Schema:
    """Return the schema of what is the same inside of others; or of anything."""
    if get_origin(hint) is list:
        return {"type": "array", "items": _native(get_args(hint)[0])}
    try:
        return _NATIVE.get(hint, ANYTHING)
    except TypeError:  # It has no hash, as `Literal` of a list.
        return ANYTHING


_OF_AGGREGATES = ("ce_subject", "ce_sequence", "ce_sequencetype")
_PROPERTIES: Mapping[str, Schema] = CLOUD_EVENT["properties"]

TAGGED_EVENT: Mapping[str, Any] = {
    **CLOUD_EVENT,
    "required": [
        *(name for name in CLOUD_EVENT["required"] if name not in _OF_AGGREGATES),
        "ce_tags",
    ],
    "properties": {
        **{
            name: schema
            for name, schema in _PROPERTIES.items()
            if name not in (*_OF_AGGREGATES, "ce_classversion", "ce_originatortopic")
        },
        "ce_id": {"type": "string", "description": "The position: the same for ever."},
        "ce_tags": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "A JSON list of the tags, in their order.",
        },
        "ce_partitionkey": {
            "type": "string",
            "description": "The key: the name of the application, or the tag that it is keyed by.",
        },
        "ce_subject": {"type": "string", "description": "That tag, if it is keyed by one."},
        "ce_tagprefix": {"type": "string", "description": "How the tags begin that are keys."},
    },
}
"""What the headers of every record of a tagged decision have."""
