"""The AsyncAPI document is valid, and tells the truth about the records."""

import json
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import JSONTranscoder, Mapper
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, ValidationError

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.schema.document import Document, described
from eventsourcing_kafka.producer.schema.values import DECIMAL_TEXT, NOT_FINITE_TEXT
from eventsourcing_kafka.producer.wire.event_types import Event, EventType

from .languages import (
    APPLICATIONS,
    document_of,
    events_of,
    every_type,
    language_at,
    plain,
    published,
    published_types,
    some,
    validators,
)
from .market import Market, Money, Round, Square
from .node import modules, needs_node

MARKET = language_at(Market)
MARKET_TYPES = published_types(Market)
TYPES = every_type()
JUDGE = Path(__file__).with_name("judge.mjs")
KNOWN: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "Stall.Sold": {
        "shape": st.none() | st.builds(Round, st.floats()) | st.builds(Square, st.integers())
    },
    "Stall.Sent": {
        "anything": st.none() | st.integers() | st.uuids() | st.lists(st.decimals() | st.text())
    },
    "Stall.Noted": {"value": st.text() | st.dates() | st.dictionaries(st.text(), st.dates())},
}
"""What Hypothesis can't tell of a type."""


def official() -> Draft7Validator:
    path = modules() / "node_modules/@asyncapi/specs/schemas/3.0.0.json"
    return Draft7Validator(json.loads(path.read_text()))


@needs_node
@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("encrypted", [False, True], ids=["JSON", "ciphertext"])
def test_the_official_schema_of_asyncapi_finds_nothing_wrong(encrypted: bool) -> None:
    languages = [language_at(each, encrypted=encrypted) for each in (*APPLICATIONS, Market)]

    official().validate(described(languages, KafkaSettings(topic_prefix="t.")))


@needs_node
@pytest.mark.usefixtures("programs")
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
    record = plain(published(language_at(application), event))
    headers, value = validators(
        document_of(application), f"{application.name}.{record['headers']['ce_type']}"
    )
    headers.validate(record["headers"])
    value.validate(record["value"])


def any_of_the_market(name: str) -> st.SearchStrategy[Event]:
    return events_of(MARKET.types.named(name), **KNOWN.get(name, {}))


@pytest.mark.parametrize("name", [each.name for each in MARKET_TYPES])
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_every_kind_of_attribute_is_as_described(name: str, data: st.DataObject) -> None:
    check(Market, data.draw(any_of_the_market(name)))


def judged(document: Document, records: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return what tools of another language say of a document, and by it of records."""
    path = folder / "document.json"
    path.write_text(json.dumps(document))
    command = ["node", str(JUDGE), str(path)]
    text = json.dumps(records)
    done = subprocess.run(
        command, cwd=modules(), input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def records_of_the_market() -> Iterator[dict[str, Any]]:
    for event_type in MARKET_TYPES:
        for event in some(any_of_the_market(event_type.name), 20):
            vars(event)["timestamp"] = datetime.now(UTC)
            record = plain(published(MARKET, event))
            yield {**record, "key": f"Market.{event_type.name}"}


@needs_node
@pytest.mark.usefixtures("programs")
def test_tools_of_another_language_find_no_error_in_the_document_nor_in_records(
    tmp_path: Path,
) -> None:
    languages = [language_at(each) for each in (*APPLICATIONS, Market)]
    document = described(languages, KafkaSettings())

    answer = judged(document, list(records_of_the_market()), tmp_path)

    assert answer == {"spectral": [], "refused": []}


@needs_node
@pytest.mark.usefixtures("programs")
def test_tools_of_another_language_would_find_what_is_wrong(tmp_path: Path) -> None:
    document = deepcopy(document_of(Market))
    del document["components"]["messages"]["Market.Stall.Sold"]["headers"]["type"]
    record = next(records_of_the_market())
    del record["value"]["timestamp"]

    answer = judged(document, [record], tmp_path)

    assert {code for code, _ in answer["spectral"]} == {"asyncapi-3-headers-schema-type-object"}
    assert [each["key"] for each in answer["refused"]] == [record["key"]]


def attributes(name: str) -> dict[str, Any]:
    schema = document_of(Market)["components"]["schemas"][f"Market.{name}"]
    properties: dict[str, Any] = schema["properties"]
    return properties


def test_what_an_own_transcoding_makes_is_what_it_says_of_itself() -> None:
    sold = attributes("Stall.Sold")

    assert attributes("Stall.Opened")["since"] == {
        "title": "date_iso",
        "type": "string",
        "format": "date",
    }
    assert sold["price"]["title"] == "money"
    assert sold["price"]["properties"]["currency"] == {"type": "string"}
    assert sold["price"]["properties"]["amount"]["properties"]["_data_"] == DECIMAL_TEXT
    assert sold["prices"] == {"type": "array", "items": sold["price"]}
    assert sold["by_day"]["additionalProperties"]["properties"]["_type_"]["const"] == "money"
    assert sold["colour"] == {
        "title": "colour",
        "type": ["string", "null"],
        "enum": ["red", "blue", None],
    }
    assert sold["tags"] == {"title": "set"}


def test_what_generators_of_code_understand_is_written_so() -> None:
    sent = attributes("Stall.Sent")

    assert sent["originator_version"] == {"type": "integer", "format": "int64"}
    assert sent["number"] == {
        "anyOf": [{"type": ["integer", "null"], "format": "int64"}, {"type": "string"}]
    }
    assert sent["when"]["type"] == ["array", "null"]
    assert document_of(Market)["components"]["messages"]["Market.Stall.Sent"]["payload"] == {
        "schemaFormat": "application/schema+json;version=draft-07",
        "schema": {"$ref": "#/components/schemas/Market.Stall.Sent"},
    }


def test_an_attribute_with_a_default_may_be_missing_and_the_default_is_told() -> None:
    closed = document_of(Market)["components"]["schemas"]["Market.Stall.Closed"]

    assert closed["required"] == ["originator_id", "originator_version", "timestamp"]
    defaults = {name: each.get("default") for name, each in closed["properties"].items()}
    assert (defaults["reason"], defaults["fine"], defaults["most"]) == (
        "unknown",
        "1.50",
        "Infinity",
    )


def sold(**others: object) -> dict[str, Any]:
    """Return the value of a record, but for what is told of it."""
    (event,) = some(any_of_the_market("Stall.Sold"), 1)
    vars(event).update(price=Money(Decimal(1), "CHF"), shape=None)
    value: dict[str, Any] = plain(published(MARKET, event))["value"]
    return {**value, **others}


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": "1 CHF"},
        {"price": None},
        {"price": {"_type_": "money", "_data_": {"amount": "1", "currency": "CHF"}}},
        {"price": {"amount": "1", "currency": "CHF"}},
        {"prices": [{"_type_": "uuid_hex", "_data_": "0" * 32}]},
        {"colour": "green"},
        {"size": "M"},
        {"shape": "round"},
    ],
    ids=str,
)
def test_a_value_that_no_event_has_is_not_as_described(wrong: dict[str, object]) -> None:
    _, value = validators(document_of(Market), "Market.Stall.Sold")
    value.validate(sold())

    with pytest.raises(ValidationError):
        value.validate(sold(**wrong))


def test_numbers_and_times_that_others_have_not_are_told_of() -> None:
    description = document_of(Market)["info"]["description"]

    assert "2**53" in description
    assert "before 1970" in description
    assert all(text in description for text in NOT_FINITE_TEXT["enum"])


def test_what_happened_before_1970_has_its_time_in_a_header() -> None:
    (event,) = some(any_of_the_market("Stall.Renewed"), 1)
    vars(event)["timestamp"] = datetime(1969, 12, 31, tzinfo=UTC)
    record = published(MARKET, event)

    assert record.timestamp_ms == 0
    assert plain(record)["headers"]["ce_time"] == "1969-12-31T00:00:00Z"
    check(Market, event)


def test_a_class_version_is_told_and_which_are_read() -> None:
    document = document_of(Market)

    message = document["components"]["messages"]["Market.Stall.Renewed"]
    assert message["x-reads-class-versions"] == [1, 2, 3]
    own = message["headers"]["allOf"][1]
    assert own["properties"]["ce_classversion"] == {"type": "string", "const": "3"}
    assert "ce_classversion" in own["required"]
    assert document["components"]["schemas"]["Market.Stall.Renewed"]["x-class-version"] == 3


class Sealed(Mapper[UUID]):
    """Stores events in a way that nobody else knows."""


def test_what_a_mapper_of_ones_own_makes_is_described_as_such() -> None:
    language = MARKET._replace(mapper=Sealed(JSONTranscoder()))

    for message in described([language], KafkaSettings())["components"]["messages"].values():
        assert message["contentType"] == "application/octet-stream"
        assert message["payload"].keys() == {"description"}
        own = message["headers"]["allOf"][1]["properties"]
        assert not {"ce_encrypted", "ce_classversion"} & own.keys()


def test_ciphertext_is_described_as_such() -> None:
    document = described([language_at(ContentManagement, encrypted=True)], KafkaSettings())

    for message in document["components"]["messages"].values():
        assert message["contentType"] == "application/octet-stream"
        assert "$ref" not in message["payload"]
        own = message["headers"]["allOf"][1]
        assert own["properties"]["ce_encrypted"]["const"] == "true"
        assert "ce_encrypted" in own["required"]


def test_a_version_that_only_the_kept_document_knows_is_carried_on() -> None:
    kept = deepcopy(document_of(Market))
    older = kept["components"]["schemas"]["Market.Stall.Renewed"]
    older.update({"x-class-version": 2})
    del older["properties"]["holder"]

    now = described([MARKET], KafkaSettings(), kept)
    again = described([MARKET], KafkaSettings(), now)

    assert now == again
    assert "holder" not in now["components"]["schemas"]["Market.Stall.Renewed-v2"]["properties"]
    message = now["components"]["messages"]["Market.Stall.Renewed-v2"]
    assert message["headers"]["allOf"][1]["properties"]["ce_classversion"]["const"] == "2"
    assert message["name"] == "Stall.Renewed"


@pytest.mark.parametrize("limit", [None, 86_400_000])
def test_it_tells_how_long_the_topic_is_kept(limit: int | None) -> None:
    settings = KafkaSettings(topic_retention_ms=limit)
    (channel,) = described([MARKET], settings)["channels"].values()
    kept = channel["bindings"]["kafka"]["topicConfiguration"]
    assert (kept["retention.ms"], kept["retention.bytes"]) == (limit or -1, -1)
    assert ("for ever" in channel["description"]) is (limit is None)
