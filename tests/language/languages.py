"""The applications of this repository, and events of any class that they publish."""

import inspect
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar, get_type_hints
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import JSONTranscoder, Mapper
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
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
from eventsourcing_kafka.producer.wire import EventTypes, WireFormat
from eventsourcing_kafka.producer.wire.event_types import Event, EventType
from examples.dogschool.application import DogSchool
from examples.game.application import Game
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


def language_at(application: type[Application[UUID]], *, encrypted: bool = False) -> Language:
    return Language(application.name, language_of(application), encrypted)


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


def writer_of(application: type[Application[UUID]]) -> WireFormat:
    return WireFormat(application.name, EventTypes(), mapper_of(application))


def mapper_of(application: type[Application[UUID]]) -> Mapper[UUID]:
    """Return the mapper of an application that encrypts nothing."""
    transcoder = JSONTranscoder()
    application.register_transcodings(object.__new__(application), transcoder)
    return Mapper(transcoder)


def events_of(event_type: EventType) -> st.SearchStrategy[Event]:
    """Return events with any attributes of the annotated types."""
    declared = Attributes(event_type)
    hints = {**get_type_hints(event_type.cls), "originator_id": UUID}
    attributes = {
        name: ZONED if hint is datetime else st.from_type(hint)
        for name, hint in hints.items()
        if name in declared.typed.__annotations__
    }
    attributes["originator_version"] = st.integers(1, 2**63 - 1)
    if declared.names_aggregate:
        attributes["originator_topic"] = st.just(event_type.topic.rpartition(".")[0])
    return st.fixed_dictionaries(attributes).map(lambda given: restored(event_type, **given))


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
    return Draft202012Validator(whole, format_checker=FORMATS)


def validators(document: Document, key: str) -> tuple[Validator, Validator]:
    """Return the validators of headers and value of a message."""
    message = document["components"]["messages"][key]
    return validator(document, message["headers"]), validator(document, message["payload"])


def kept_path(application: type[Application[UUID]]) -> Path:
    """Return where the schema of an application is kept."""
    return Path(inspect.getfile(application)).resolve().with_name("schema.json")
