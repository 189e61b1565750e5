"""The applications of this repository, and events of any class that they publish."""

import inspect
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import JSONTranscoder, Mapper, Notification
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, FormatChecker
from jsonschema.protocols import Validator

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.published import language_of
from eventsourcing_kafka.producer.schema.attributes import Attributes
from eventsourcing_kafka.producer.schema.document import (
    Document,
    Language,
    described,
    event_schemas,
)
from eventsourcing_kafka.producer.wire import EventTypes, Record, WireFormat
from eventsourcing_kafka.producer.wire.decoding import usual_mapper
from eventsourcing_kafka.producer.wire.event_types import Event, EventType
from examples.dogschool.application import DogSchool
from examples.game.application import Game
from tests.chains import linked
from tests.systems.everything.application import EverythingApplication

APPLICATIONS: list[type[Application[UUID]]] = [
    ContentManagement,
    DogSchool,
    Game,
    EverythingApplication,
]

ZONES = st.builds(timezone, st.integers(-840, 840).map(lambda m: timedelta(minutes=m)))
ZONED = st.datetimes(timezones=ZONES)
S = TypeVar("S")


def document_of(application: type[Application[UUID]]) -> Document:
    return described([language_at(application)], KafkaSettings())


def published_types(application: type[Application[UUID]]) -> list[EventType]:
    """Return the event types that the document of an application tells of."""
    types = language_of(application)
    schemas = event_schemas(document_of(application)).values()
    return [types.named(schema["title"]) for schema in schemas]


def every_type() -> list[tuple[type[Application[UUID]], EventType]]:
    return [
        (application, event_type)
        for application in APPLICATIONS
        for event_type in published_types(application)
    ]


def published(language: Language, event: Event) -> Record:
    """Return the record of an event, as it comes of what the application stores."""
    mapper = language.mapper or usual_mapper()
    writer = WireFormat(language.application_name, EventTypes(), mapper)
    stored = mapper.to_stored_event(event)
    return linked(writer.to_record(Notification(id=1, **vars(stored))))


def writer_of(application: type[Application[UUID]]) -> WireFormat:
    return WireFormat(application.name, EventTypes(), mapper_of(application))


def language_at(application: type[Application[UUID]], *, encrypted: bool = False) -> Language:
    return Language(application.name, language_of(application), encrypted, mapper_of(application))


def mapper_of(application: type[Application[UUID]]) -> Mapper[UUID]:
    """Return the mapper of an application that encrypts nothing."""
    transcoder = JSONTranscoder()
    application.register_transcodings(object.__new__(application), transcoder)
    return Mapper(transcoder)


def events_of(event_type: EventType, **known: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    """Return events with any attributes of the annotated types, or of what is known of them."""
    types = {**Attributes(event_type).types, "originator_id": UUID}
    attributes = {
        name: ZONED if hint is datetime else st.from_type(hint) for name, hint in types.items()
    }
    attributes["originator_version"] = st.integers(1, 2**63 - 1)
    if "originator_topic" in types:
        attributes["originator_topic"] = st.just(event_type.topic.rpartition(".")[0])
    return st.fixed_dictionaries({**attributes, **known}).map(
        lambda given: restored(event_type, **given)
    )


def restored(event_type: EventType, **attributes: Any) -> Event:
    """Return an event as the library restores it."""
    event = object.__new__(event_type.cls)
    vars(event).update(attributes)
    return event


def some(strategy: st.SearchStrategy[S], count: int) -> list[S]:
    """Return so many examples of a strategy, for a test that is too slow to be run so often."""
    found: list[S] = []

    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: S) -> None:
        found.append(example)

    collect()
    return found


FORMATS = FormatChecker(["uuid", "date"])


@FormatChecker.checks(FORMATS, "date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def validator(document: Document, schema: dict[str, Any]) -> Validator:
    """Return a validator of a schema that is part of a document."""
    whole = {**schema, "components": document["components"]}
    return Draft7Validator(whole, format_checker=FORMATS)


def validators(document: Document, key: str) -> tuple[Validator, Validator]:
    """Return the validators of headers and value of a message."""
    message = document["components"]["messages"][key]
    payload = message["payload"]
    return (
        validator(document, message["headers"]),
        validator(document, payload.get("schema", payload)),
    )


def plain(record: Record) -> dict[str, Any]:
    """Return what readers of any language have of a record that is JSON."""
    return {
        "key": record.key.decode(),
        "headers": {name: value.decode() for name, value in record.headers},
        "value": json.loads(record.value),
    }


def kept_path(application: type[Application[UUID]]) -> Path:
    """Return where the schema of an application is kept."""
    return Path(inspect.getfile(application)).resolve().with_name("schema.json")
