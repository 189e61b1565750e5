"""The AsyncAPI document of the topics of some applications."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from eventsourcing.dcb.msgpack import MessagePackMapper
from eventsourcing.dcb.persistence import DCBMapper
from eventsourcing.persistence import JSONTranscoder, Transcoding, TranscodingNotRegisteredError
from eventsourcing.persistence import Mapper as LibraryMapper

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import FOR_EVER, RETENTION, Topics
from eventsourcing_kafka.producer.relay.topics import events_config
from eventsourcing_kafka.producer.schema.attributes import Attributes
from eventsourcing_kafka.producer.schema.decisions import TAGGED_EVENT, decision_schema
from eventsourcing_kafka.producer.schema.headers import CLOUD_EVENT, constant
from eventsourcing_kafka.producer.schema.values import INTEGER, UUID_TEXT, Schema, Values
from eventsourcing_kafka.producer.wire import EventTypes
from eventsourcing_kafka.producer.wire.decoding import Mapper, usual_mapper
from eventsourcing_kafka.producer.wire.envelope import BYTES, JSON
from eventsourcing_kafka.producer.wire.event_types import EventType, upcast_from
from eventsourcing_kafka.producer.wire.state import publish

ASYNCAPI = "3.0.0"
SCHEMA_FORMAT = "application/schema+json;version=draft-07"
"""The draft that AsyncAPI's tools, and what generates code, understand."""

WIRE_FORMAT = "2.0"
"""Of the headers and of the way that values become JSON. Event types have their own versions."""

CLASS_VERSION = "x-class-version"
"""In the schema of an event type: its version. A validator is to be told of this one keyword."""

READS = "x-reads-class-versions"
"""In the message of an event type: the versions that its class can read."""

Document = dict[str, Any]

PUBLISHED_ONCE = (
    "Each event is published once, to readers with the isolation level read_committed. "
)
ORDERED_BY_AGGREGATE = "The events of one aggregate have one key, and come in order. "
ORDERED_BY_TAG = (
    "Tagged decisions of one key come in order: the key is the name of the application, so that "
    "all of them do, or the tag that some have in common. "
)
HOW_TO_READ = (
    "An event type may get attributes that a reader does not know yet: they are to be ignored. An "
    "attribute with a default may be missing: an event that was stored before there was one is "
    "published without. "
    "Integers are of any size. Beyond 2**53 a reader loses digits that takes JSON's numbers for "
    "floating point, as JavaScript does; few are beyond 64 bits. "
    "Numbers that JSON does not have are text: NaN, Infinity and -Infinity; the header "
    "ce_unwrapped names the attributes that are such. "
    "A record's timestamp is 0 for an event of a time before 1970, since Kafka has none of then: "
    "the header ce_time has it. "
    "Inside of other values a UUID, a time, a decimal number, or what the application stores in a "
    "way of its own, is an object of its kind, _type_, and its text or other data, _data_. So is, "
    "anywhere, a time whose distance from UTC is no whole minute, which RFC 3339 does not have."
)

_UNNAMEABLE = re.compile(r"[^a-zA-Z0-9.\-_]")
_OLDER = re.compile(r"(?P<event>.+)-v\d+")


class Language(NamedTuple):
    """What one application publishes."""

    application_name: str
    types: EventTypes
    encrypted: bool = False
    """Its values are ciphertext, which only those read who have its key."""
    mapper: Mapper | None = None
    """What stores its events, if that is not as usual."""
    tagged: DCBMapper[Any] | None = None
    """What stores its events, if they are tagged decisions."""

    @property
    def is_json(self) -> bool:
        """Whether its values are JSON; else they are the very bytes that are stored."""
        return not (self.encrypted or self.has_own_mapper)

    @property
    def has_own_mapper(self) -> bool:
        """Whether its events are stored in a way that nobody else knows."""
        if self.tagged:
            return type(self.tagged) is not MessagePackMapper
        return self.mapper is not None and not (
            type(self.mapper) is LibraryMapper and type(self.mapper.transcoder) is JSONTranscoder
        )

    @property
    def transcoder(self) -> JSONTranscoder:
        """What stores the attributes of its events."""
        own = self.mapper.transcoder if self.mapper else None
        transcoder = own if isinstance(own, JSONTranscoder) else usual_mapper().transcoder
        assert isinstance(transcoder, JSONTranscoder)  # noqa: S101 - the usual one is
        return transcoder

    @property
    def transcodings(self) -> Sequence[Transcoding]:
        """How it stores what JSON does not have."""
        return list(self.transcoder.types.values())


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
    headers = {_headers_of(language): HEADERS[_headers_of(language)] for language in languages}
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": f"The events of {names}",
            "version": WIRE_FORMAT,
            "description": _introduction(languages),
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
                "description": f"What happens in {language.application_name}, once it is stored.",
            }
            for language in languages
        },
        "components": {
            "messages": {
                key: _message(language, key, schemas[key])
                for language in languages
                for key in _keys_of(language, schemas)
            },
            "schemas": {**headers, **dict(sorted(schemas.items()))},
        },
    }


HEADERS: Mapping[str, Mapping[str, Any]] = {
    "CloudEvent": CLOUD_EVENT,
    "TaggedCloudEvent": TAGGED_EVENT,
}
"""What the headers of records have, by what it is called in a document."""


def _introduction(languages: Sequence[Language]) -> str:
    orders = {ORDERED_BY_TAG if each.tagged else ORDERED_BY_AGGREGATE for each in languages}
    return "".join([PUBLISHED_ONCE, *sorted(orders), HOW_TO_READ])


def _headers_of(language: Language) -> str:
    return "TaggedCloudEvent" if language.tagged else "CloudEvent"


def event_schemas(document: Document) -> dict[str, Schema]:
    """Return the schemas of event types in a document, by their keys: Application.Event."""
    schemas: dict[str, Schema] = document.get("components", {}).get("schemas", {})
    return {key: schema for key, schema in schemas.items() if CLASS_VERSION in schema}


def event_of(key: str) -> str:
    """Return the key of the current version of what has this key."""
    older = _OLDER.fullmatch(key)
    return older["event"] if older else key


def _schemas_of(language: Language) -> Iterator[tuple[str, Schema]]:
    if language.tagged:
        for decision in language.types:
            yield _key(language, decision), _decision(decision)
        return
    values = Values(language.transcodings)
    for event_type in language.types:
        if _happens(event_type):
            yield _key(language, event_type), _event_schema(event_type, values, language.transcoder)


def _key(language: Language, event_type: EventType) -> str:
    return _UNNAMEABLE.sub("_", f"{language.application_name}.{event_type.name}")


def _happens(event_type: EventType) -> bool:
    """Tell whether it is more than what the library derives an aggregate's events from."""
    cls = event_type.cls
    return cls.__name__ != "Event" and not cls.__module__.startswith("eventsourcing.")


def _event_schema(event_type: EventType, values: Values, transcoder: JSONTranscoder) -> Schema:
    attributes = Attributes(event_type)
    described = {
        name: _library_attribute(name, hint) or values.attribute(hint)
        for name, hint in attributes.types.items()
    }
    for name, default in attributes.defaults.items():
        described[name] = {**described[name], **_default(default, transcoder)}
    return {
        "title": event_type.name,
        **_description(event_type.cls),
        "type": "object",
        "properties": described,
        "required": [name for name in described if name not in attributes.defaults],
        CLASS_VERSION: event_type.version,
    }


def _decision(event_type: EventType) -> Schema:
    return {
        "title": event_type.name,
        **_description(event_type.cls),
        **decision_schema(event_type.cls),
        CLASS_VERSION: event_type.version,
    }


def _library_attribute(name: str, hint: Any) -> Schema | None:
    """Return what an attribute is like that the library gives to events; None for all others."""
    match name:
        case "originator_id":
            return UUID_TEXT if hint is UUID else {"type": "string"}
        case "originator_version":
            return INTEGER
        case "originator_topic":
            return {"type": "string", "description": "The class of the aggregate."}
        case "timestamp" if hint is datetime:
            return {"type": "string", "format": "date-time"}  # The library gives it a zone.
        case _:
            return None


def _default(value: Any, transcoder: JSONTranscoder) -> Schema:
    """Return a default value, as it is published of events that have it."""
    try:
        published = publish(transcoder.encode({"default": value}), "", "", 1).value
    except TranscodingNotRegisteredError:  # No event that has it can be stored.
        return {}
    return {"default": msgspec.json.decode(published)["default"]}


def _description(cls: type) -> Schema:
    """Return the summary of a class, which the library derives anew from what it decorates."""
    for defined in (base for base in cls.__mro__ if base.__qualname__ == cls.__qualname__):
        text = (defined.__doc__ or "").strip()
        if text and not text.startswith(f"{defined.__name__}("):  # That is a dataclass's own.
            return {"description": text.partition("\n\n")[0]}
    return {}


def _reads(language: Language) -> dict[str, list[int]]:
    """Return which versions are read of the event types that have several, by their keys."""
    return {
        _key(language, event_type): sorted(_versions_read(event_type))
        for event_type in language.types
        if event_type.version > 1
    }


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
            found[older].pop(READS, None)  # The first wire format had it there.
    return found


def _keys_of(language: Language, schemas: Mapping[str, Schema]) -> list[str]:
    return sorted(key for key in schemas if key.startswith(f"{language.application_name}."))


def _channel(
    language: Language, settings: KafkaSettings, schemas: Mapping[str, Schema]
) -> dict[str, Any]:
    topic = Topics.of(language.application_name, settings).events
    config = events_config(settings)
    is_limited = any(config[name] != FOR_EVER for name in RETENTION)
    retention = {
        "cleanup.policy": [config["cleanup.policy"]],
        **{name: int(config[name]) for name in RETENTION},
    }
    return {
        "address": topic,
        "description": "The topic has the last events of the application; older ones are deleted."
        if is_limited
        else "The topic is kept for ever, from the first event of the application on.",
        "messages": {
            key: {"$ref": f"#/components/messages/{key}"} for key in _keys_of(language, schemas)
        },
        "bindings": {
            "kafka": {"topic": topic, "topicConfiguration": retention, "bindingVersion": "0.5.0"}
        },
    }


def _message(language: Language, key: str, schema: Schema) -> dict[str, Any]:
    reads = _reads(language).get(key)
    return {
        "name": schema["title"],
        "contentType": (JSON if language.is_json else BYTES).decode(),
        "headers": {
            "type": "object",
            "allOf": [
                {"$ref": f"#/components/schemas/{_headers_of(language)}"},
                _own_headers(language, schema),
            ],
        },
        "payload": _payload(language, key),
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": "0.5.0"}},
        **({READS: reads} if reads else {}),
    }


def _own_headers(language: Language, schema: Schema) -> Schema:
    """Return what is in the headers of one event type, of all that can be."""
    headers = {
        "ce_type": constant(schema["title"]),
        "ce_source": constant(f"/{language.application_name}"),
        "content-type": constant((JSON if language.is_json else BYTES).decode()),
    }
    if language.is_json and schema[CLASS_VERSION] > 1:
        headers["ce_classversion"] = constant(str(schema[CLASS_VERSION]))
    if language.encrypted:
        headers["ce_encrypted"] = constant("true")
    return {"type": "object", "properties": headers, "required": list(headers)}


def _payload(language: Language, key: str) -> Schema:
    if language.encrypted:
        return {"description": "Ciphertext, for those who have the key."}
    if language.has_own_mapper:
        return {"description": "What the application's own way of storing events has made."}
    return {"schemaFormat": SCHEMA_FORMAT, "schema": {"$ref": f"#/components/schemas/{key}"}}
