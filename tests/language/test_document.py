"""The AsyncAPI document is valid, and tells the truth about the records."""

import json
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import Notification
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, ValidationError

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.schema.document import Language, described
from eventsourcing_kafka.producer.wire import EventTypes
from eventsourcing_kafka.producer.wire.event_types import Event, EventType
from tests.chains import linked
from tests.wire.shop import NOTED, Account, Colour, Order, happened

from .languages import (
    APPLICATIONS,
    document_of,
    events_of,
    every_type,
    language_at,
    published_types,
    validators,
    writer_of,
)
from .node import modules, needs_node

TYPES = every_type()
SHOP = Language("Shop", EventTypes.of(Order, Account))


def official() -> Draft7Validator:
    path = modules() / "node_modules/@asyncapi/specs/schemas/3.0.0.json"
    return Draft7Validator(json.loads(path.read_text()))


@needs_node
@pytest.mark.parametrize("encrypted", [False, True], ids=["JSON", "ciphertext"])
def test_the_official_schema_of_asyncapi_finds_nothing_wrong(encrypted: bool) -> None:
    languages = [language_at(each, encrypted=encrypted) for each in APPLICATIONS]

    official().validate(described([*languages, SHOP], KafkaSettings(topic_prefix="t.")))


@needs_node
def test_the_official_schema_would_find_what_is_wrong() -> None:
    document = document_of(ContentManagement)
    document["channels"]["ContentManagement"]["bindings"]["kafka"]["partitions"] = 0

    with pytest.raises(ValidationError):
        official().validate(document)


def test_the_topic_is_where_the_settings_put_it() -> None:
    settings = KafkaSettings(topic_prefix="shared.")

    document = described([language_at(ContentManagement)], settings)

    assert document["channels"]["ContentManagement"]["address"] == "shared.contentmanagement.events"


def test_everything_that_the_wiki_does_is_described_and_nothing_else() -> None:
    assert {event_type.name for event_type in published_types(ContentManagement)} == {
        "GitImport.CommitsImported",
        "GitImport.Created",
        "Page.BodyUpdated",
        "Page.Created",
        "Page.SlugUpdated",
        "Page.TitleUpdated",
        "PageLogged",
        "Slug.Created",
        "Slug.PageUpdated",
    }


def test_an_event_type_says_what_its_class_says() -> None:
    schemas = document_of(ContentManagement)["components"]["schemas"]

    described_as = schemas["ContentManagement.Page.BodyUpdated"]["description"]
    assert described_as == "A page's body changed, by a diff in the normal format of GNU diff."


@pytest.mark.parametrize(("application", "event_type"), TYPES, ids=lambda each: each.name)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_every_event_of_every_application_is_as_described(
    application: type[Application[UUID]], event_type: EventType, data: st.DataObject
) -> None:
    check(application, data.draw(events_of(event_type)))


def check(application: type[Application[UUID]], event: Event) -> None:
    writer = writer_of(application)
    assert writer._mapper
    stored = writer._mapper.to_stored_event(event)
    record = linked(writer.to_record(Notification(id=1, **vars(stored))))
    headers, value = validators(
        document_of(application), f"{application.name}.{type(event).__qualname__}"
    )
    headers.validate({name: text.decode() for name, text in record.headers})
    value.validate(json.loads(record.value))


@pytest.mark.parametrize(
    "event",
    [
        happened(Order.Painted, value=Colour.BLUE),
        happened(Order.Tagged, value={"red"}),
        happened(Order.Answered, value=None),
        happened(NOTED, value={"is": ["a", {"rose": None}]}),
        happened(Account.Opened, holder="Ada", balances={}),
        happened(Account.Closed),
    ],
    ids=lambda event: type(event).__name__,
)
def test_every_kind_of_attribute_is_described(event: Event) -> None:
    event_type = SHOP.types.named(type(event).__qualname__)
    document = described([SHOP], KafkaSettings())
    _, value = validators(document, f"Shop.{event_type.name}")

    value.validate(json.loads(event_type.to_json(event)))


@pytest.mark.parametrize("value", ["green", 1, None])
def test_a_value_that_no_event_has_is_not_as_described(value: str | int | None) -> None:
    event_type = SHOP.types.named("Order.Painted")
    painted = json.loads(event_type.to_json(happened(Order.Painted, value=Colour.RED)))
    _, validator = validators(described([SHOP], KafkaSettings()), "Shop.Order.Painted")

    with pytest.raises(ValidationError):
        validator.validate({**painted, "value": value})


def test_ciphertext_is_described_as_such() -> None:
    document = described([language_at(ContentManagement, encrypted=True)], KafkaSettings())

    for message in document["components"]["messages"].values():
        assert message["contentType"] == "application/octet-stream"
        assert "$ref" not in message["payload"]
        assert {"ce_encrypted": {"const": "true"}}.items() <= message["headers"]["allOf"][1][
            "properties"
        ].items()


def test_a_version_that_only_the_kept_document_knows_is_carried_on() -> None:
    kept = described([SHOP], KafkaSettings())
    older = kept["components"]["schemas"]["Shop.Account.Opened"]
    older.update({"x-class-version": 2})
    del older["properties"]["balances"]

    now = described([SHOP], KafkaSettings(), kept)
    again = described([SHOP], KafkaSettings(), now)

    assert now == again
    assert "balances" not in now["components"]["schemas"]["Shop.Account.Opened-v2"]["properties"]
    message = now["components"]["messages"]["Shop.Account.Opened-v2"]
    assert message["headers"]["allOf"][1]["properties"]["ce_classversion"] == {"const": "2"}
    assert message["name"] == "Account.Opened"
