"""The AsyncAPI document of the topics of some applications."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.relay.topics import EVENTS_CONFIG
from eventsourcing_kafka.producer.schema.attributes import Attributes
from eventsourcing_kafka.producer.wire import EventTypes
from eventsourcing_kafka.producer.wire.chain import IDENTITY_CHARACTERS
from eventsourcing_kafka.producer.wire.envelope import BYTES, JSON
from eventsourcing_kafka.producer.wire.event_types import EventType, upcast_from
from eventsourcing_kafka.producer.wire.tracing import TRACEPARENT, TRACESTATE

ASYNCAPI = "3.0.0"
WIRE_FORMAT = "1.0"
"""Of the headers and of the way that values become JSON. Event types have their own versions."""

CLASS_VERSION = "x-class-version"
READS = "x-reads-class-versions"

Schema = dict[str, Any]
Document = dict[str, Any]

_UNNAMEABLE = re.compile(r"[^a-zA-Z0-9.\-_]")
_OLDER = re.compile(r"(?P<event>.+)-v\d+")

_NUMBER = {"type": "string", "pattern": "^[0-9]+$"}
_CLOUD_EVENT = {
    "type": "object",
    "description": "CloudEvents 1.0 in the binary mode of its Kafka binding, with the extensions "
    "for partitioning and sequence, and two of our own for the chain of a partition: each record "
    "names the one before it.",
    "required": [
        "ce_specversion",
        "ce_type",
        "ce_source",
        "ce_id",
        "ce_subject",
        "ce_partitionkey",
        "ce_sequence",
        "ce_sequencetype",
        "ce_position",
        "ce_identity",
        "ce_predecessor",
        "content-type",
    ],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_type": {"type": "string", "description": "The event type."},
        "ce_source": {"type": "string", "description": "The application."},
        "ce_id": {"type": "string", "description": "Subject and sequence: the same for ever."},
        "ce_subject": {"type": "string", "description": "The ID of the aggregate."},
        "ce_partitionkey": {"type": "string", "description": "The same, and the key."},
        "ce_sequence": {
            **_NUMBER,
            "description": "The place of the event in the sequence of its subject, without holes.",
        },
        "ce_sequencetype": {"const": "Integer"},
        "ce_position": {
            **_NUMBER,
            "description": "The place of the event in the sequence of its source. It grows "
            "inside a partition, and has holes.",
        },
        "ce_identity": {
            "type": "string",
            "pattern": f"^[0-9a-f]{{{IDENTITY_CHARACTERS}}}$",
            "description": "A digest of what is stored. Two events of one position differ in it.",
        },
        "ce_predecessor": {
            "type": "string",
            "pattern": f"^(0|[1-9][0-9]*:[0-9a-f]{{{IDENTITY_CHARACTERS}}})$",
            "description": "Position and identity of the record before it in its partition; 0 for "
            "the first. A reader that finds another one there than it has read has missed some.",
        },
        "ce_time": {"type": "string", "format": "date-time", "description": "When it happened."},
        "ce_classversion": {**_NUMBER, "description": "Of the event type; 1 if it is missing."},
        "ce_encrypted": {"const": "true"},
        "content-type": {"type": "string"},
        TRACEPARENT: {
            "type": "string",
            "description": "The trace of the command (W3C Trace Context), if it is traced.",
        },
        TRACESTATE: {"type": "string", "description": "What tracing systems add to that."},
    },
}


class Language(NamedTuple):
    """What one application publishes."""

    application_name: str
    types: EventTypes
    encrypted: bool = False
    """Its values are ciphertext, which only those read who have its key."""


def described(
    languages: Sequence[Language], settings: KafkaSettings, kept: Document | None = None
) -> Document:
    """Return the document of what applications publish, to the topics that settings name.

    Of event types in the document kept so far that had another version there, that is described
    as well: its records are still in the topic.
    """
    names = " and ".join(language.application_name for language in languages)
    schemas = dict(item for language in languages for item in _schemas_of(language))
    schemas = {**schemas, **_older_versions(event_schemas(kept or {}), schemas)}
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": f"The events of {names}",
            "version": WIRE_FORMAT,
            "description": "Each event is published once, to readers with the isolation level "
            "read_committed. The events of one aggregate have one key, and come in order. An event "
            "type may get attributes that a reader does not know yet: they are to be ignored.",
        },
        "defaultContentType": JSON.decode(),
        "channels": {
            language.application_name: _channel(language, settings, schemas)
            for language in languages
        },
        "operations": {
            f"publish{language.application_name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{language.application_name}"},
            }
            for language in languages
        },
        "components": {
            "messages": {
                key: _message(language, key, schemas[key])
                for language in languages
                for key in _keys_of(language, schemas)
            },
            "schemas": {"CloudEvent": _CLOUD_EVENT, **dict(sorted(schemas.items()))},
        },
    }


def event_schemas(document: Document) -> dict[str, Schema]:
    """Return the schemas of event types in a document, by their keys: Application.Event."""
    schemas: dict[str, Schema] = document.get("components", {}).get("schemas", {})
    return {key: schema for key, schema in schemas.items() if CLASS_VERSION in schema}


def event_of(key: str) -> str:
    """Return the key of the current version of what has this key."""
    older = _OLDER.fullmatch(key)
    return older["event"] if older else key


def _schemas_of(language: Language) -> Iterator[tuple[str, Schema]]:
    for event_type in language.types:
        if _happens(event_type):
            key = _UNNAMEABLE.sub("_", f"{language.application_name}.{event_type.name}")
            yield key, _event_schema(event_type, key)


def _happens(event_type: EventType) -> bool:
    """Tell whether it is more than what the library derives an aggregate's events from."""
    cls = event_type.cls
    return cls.__name__ != "Event" and not cls.__module__.startswith("eventsourcing.")


def _event_schema(event_type: EventType, key: str) -> Schema:
    attributes = Attributes(event_type)
    (root,), components = msgspec.json.schema_components(
        [attributes.typed], ref_template=f"#/components/schemas/{key}/$defs/{{name}}"
    )
    schema: Schema = components.pop(root["$ref"].rpartition("/")[2])
    schema["title"] = event_type.name
    if description := _description(event_type.cls):
        schema["description"] = description
    for name, default in attributes.defaults.items():
        schema["properties"][name]["default"] = msgspec.to_builtins(default, str_keys=True)
    if schema["properties"].get("timestamp") == {"type": "string"}:
        schema["properties"]["timestamp"]["format"] = "date-time"  # The library gives it a zone.
    if attributes.names_aggregate:
        schema["properties"]["originator_topic"] = {"const": event_type.aggregate_name}
    schema[CLASS_VERSION] = event_type.version
    if event_type.version > 1:
        schema[READS] = sorted(_versions_read(event_type))
    return {**schema, "$defs": components} if components else schema


def _description(cls: type) -> str:
    """Return the summary of a class, which the library derives anew from what it decorates."""
    for defined in (base for base in cls.__mro__ if base.__qualname__ == cls.__qualname__):
        text = (defined.__doc__ or "").strip()
        if text and not text.startswith(f"{defined.__name__}("):  # That is a dataclass's own.
            return text.partition("\n\n")[0]
    return ""


def _versions_read(event_type: EventType) -> Iterator[int]:
    """Yield the versions that upcasts lead from to the current one, and that one."""
    version = event_type.version
    yield version
    while version > 1 and hasattr(event_type.cls, upcast_from(version - 1)):
        version -= 1
        yield version


def _older_versions(kept: Mapping[str, Schema], now: Mapping[str, Schema]) -> dict[str, Schema]:
    found = {}
    for key, schema in kept.items():
        current, version = now.get(event_of(key)), schema[CLASS_VERSION]
        if current and version < current[CLASS_VERSION]:
            older = f"{event_of(key)}-v{version}"
            text = msgspec.json.encode(schema).decode()
            text = text.replace(f'"#/components/schemas/{key}/', f'"#/components/schemas/{older}/')
            found[older] = msgspec.json.decode(text)
    return found


def _keys_of(language: Language, schemas: Mapping[str, Schema]) -> list[str]:
    return sorted(key for key in schemas if key.startswith(f"{language.application_name}."))


def _channel(
    language: Language, settings: KafkaSettings, schemas: Mapping[str, Schema]
) -> dict[str, Any]:
    topic = Topics.of(language.application_name, settings).events
    retention = {
        "cleanup.policy": [EVENTS_CONFIG["cleanup.policy"]],
        "retention.ms": int(EVENTS_CONFIG["retention.ms"]),
        "retention.bytes": int(EVENTS_CONFIG["retention.bytes"]),
    }
    return {
        "address": topic,
        "description": "The topic is kept for ever, from the first event of the application on.",
        "messages": {
            key: {"$ref": f"#/components/messages/{key}"} for key in _keys_of(language, schemas)
        },
        "bindings": {
            "kafka": {"topic": topic, "topicConfiguration": retention, "bindingVersion": "0.5.0"}
        },
    }


def _message(language: Language, key: str, schema: Schema) -> dict[str, Any]:
    version = schema[CLASS_VERSION]
    headers: dict[str, Any] = {
        "ce_type": {"const": schema["title"]},
        "ce_source": {"const": f"/{language.application_name}"},
    }
    if version > 1:
        headers["ce_classversion"] = {"const": str(version)}
    message = {
        "name": schema["title"],
        "contentType": JSON.decode(),
        "headers": {
            "allOf": [{"$ref": "#/components/schemas/CloudEvent"}, {"properties": headers}]
        },
        "payload": {"$ref": f"#/components/schemas/{key}"},
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": "0.5.0"}},
    }
    if language.encrypted:
        headers["ce_encrypted"] = {"const": "true"}
        message["contentType"] = BYTES.decode()
        message["payload"] = {"description": "Ciphertext, for those who have the key."}
    return message
