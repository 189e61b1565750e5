"""The schema of tagged decisions tells the truth about their records."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from eventsourcing.dcb.domain import Tagged
from eventsourcing.dcb.msgpack import Decision, MessagePackMapper
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from typer.testing import CliRunner

from eventsourcing_kafka.__main__ import app
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.schema.changes import breaks
from eventsourcing_kafka.producer.schema.document import Language, described
from eventsourcing_kafka.producer.wire import EventTypes
from eventsourcing_kafka.producer.wire.tagged import TaggedWireFormat
from eventsourcing_kafka.producer.wire.tags import TaggedNotification
from tests.pipeline import ROOT

SETTINGS = KafkaSettings()
ASKED = ("producer", "schema", "-a", "examples.courses.application:Courses")


class Strange(Decision):
    """Has attributes of all kinds."""

    text: str
    number: float
    at: datetime | None
    data: bytes
    ident: UUID
    price: Decimal
    names: list[str]
    times: list[datetime]
    by_number: dict[int, bytes]
    inner: list[float]
    flag: bool = True


class Flat(Decision, array_like=True):
    """Is a list."""

    text: str


class Named(Decision, tag="named", rename="camel"):
    """Has other names there."""

    first_name: str


TYPES = EventTypes.of(Strange, Flat, Named)
DOCUMENT = described([Language("Courses", TYPES, tagged=MessagePackMapper())], SETTINGS)

TIMES = st.datetimes() | st.datetimes(timezones=st.just(UTC))
DECISIONS = (
    st.builds(
        Strange,
        text=st.text(),
        number=st.floats(),
        at=st.none() | TIMES,
        data=st.binary(),
        ident=st.uuids(),
        price=st.decimals(allow_nan=False),
        names=st.lists(st.text()),
        times=st.lists(TIMES),
        by_number=st.dictionaries(st.integers(0, 9), st.binary()),
        inner=st.lists(st.floats()),
    )
    | st.builds(Flat, text=st.text())
    | st.builds(Named, first_name=st.text())
)


def refused(decision: Decision, prefix: str = "") -> list[str]:
    """Return what the schema says against a record."""
    event = MessagePackMapper().to_dcb_event(Tagged(["course-1"], decision))
    wire = TaggedWireFormat("Courses", EventTypes(), tag_prefix=prefix)
    record = wire.to_record(TaggedNotification.of(3, event))
    headers = {name: value.decode() for name, value in record.headers}
    if headers["content-type"] != "application/json":
        return []  # It is described as JSON, and says of itself that it is not.
    name = type(decision).__name__
    of_all = DOCUMENT["components"]["schemas"]["TaggedCloudEvent"]
    _, own = DOCUMENT["components"]["messages"][f"Courses.{name}"]["headers"]["allOf"]
    value = DOCUMENT["components"]["schemas"][f"Courses.{name}"]
    checked = [
        (of_all, {**headers, "ce_predecessor": "0"}),
        (own, headers),
        (value, json.loads(record.value)),
    ]
    return [
        error.message
        for schema, instance in checked
        for error in Draft7Validator(schema).iter_errors(instance)
    ]


@given(DECISIONS)
def test_every_record_is_as_described(decision: Decision) -> None:
    assert refused(decision) == []
    assert refused(decision, "course") == []


def test_what_is_said_of_attributes() -> None:
    schema = DOCUMENT["components"]["schemas"]["Courses.Strange"]
    assert schema["properties"]["data"] == {"type": "string", "contentEncoding": "base64"}
    assert schema["properties"]["by_number"] == {}
    assert "flag" not in schema["required"]
    assert "ce_subject" not in DOCUMENT["components"]["schemas"]["TaggedCloudEvent"]["required"]
    named = DOCUMENT["components"]["schemas"]["Courses.Named"]
    assert set(named["required"]) == {"firstName", "type"}


@pytest.mark.parametrize("change", ["text", "number"])
def test_a_change_that_would_break_a_reader_is_found(change: str) -> None:
    kept: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(DOCUMENT))
    kept["components"]["schemas"]["Courses.Strange"]["properties"][change] = {"type": "boolean"}
    assert breaks(kept, DOCUMENT)


def test_the_kept_schema_of_the_sample_is_what_its_classes_say() -> None:
    kept = ROOT / "examples" / "courses" / "schema.json"
    checked = CliRunner().invoke(app, [*ASKED, "--check", str(kept)])
    assert checked.exit_code == 0, checked.exception
