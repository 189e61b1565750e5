"""Which changes of an event class are found to break a reader, and that the others break none."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from itertools import count
from typing import Any, ClassVar, Literal, NotRequired, TypedDict, cast
from uuid import UUID

import msgspec
import pytest
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import JSONTranscoder, Mapper, Transcoding
from eventsourcing.utils import get_topic
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.schema.changes import Break, breaks
from eventsourcing_kafka.producer.schema.document import (
    Document,
    Language,
    described,
    event_schemas,
)
from eventsourcing_kafka.producer.schema.values import Schema
from eventsourcing_kafka.producer.wire import EventTypes, WireFormat
from eventsourcing_kafka.producer.wire.decoding import usual_mapper
from eventsourcing_kafka.producer.wire.event_types import Event, EventType

from .languages import APPLICATIONS, document_of, events_of, plain, published, validators

PROGRAMS = count()
NO_DEFAULT: Any = object()


class Colour(StrEnum):
    RED = "red"


class Hue(StrEnum):
    RED = "red"


class MoreColours(StrEnum):
    RED = "red"
    BLUE = "blue"


class Money(TypedDict):
    amount: int


class MoneyOfACountry(TypedDict):
    amount: int
    country: str


class MoneyPerhapsOfACountry(TypedDict):
    amount: int
    country: NotRequired[str]


class Text(TypedDict):
    amount: str


class Tree(TypedDict):
    branches: "list[Tree]"


@dataclass(frozen=True)
class Price:
    amount: int


@dataclass(frozen=True)
class Cost:
    amount: int


class PriceAsText(Transcoding):
    type = Price
    name = "price"

    def encode(self, obj: Price) -> str:
        return str(obj.amount)

    def decode(self, data: str) -> Price:
        return Price(int(data))


class CostAsText(Transcoding):
    type = Cost
    name = "cost"

    def encode(self, obj: Cost) -> str:
        return str(obj.amount)

    def decode(self, data: str) -> Cost:
        return Cost(int(data))


def shop_mapper() -> Mapper[UUID]:
    mapper = usual_mapper()
    assert isinstance(mapper.transcoder, JSONTranscoder)
    for transcoding in (PriceAsText(), CostAsText()):
        mapper.transcoder.register(transcoding)
    return mapper


def shop(*classes: type[Event]) -> Language:
    return Language("Shop", EventTypes(classes), mapper=shop_mapper())


def sold(version: int = 1, upcasts: tuple[int, ...] = (), /, **attributes: Any) -> type[Event]:
    """Return an event class; attributes are a type each, or a type and a default value."""
    pairs = {name: as_pair(given) for name, given in attributes.items()}
    body = {name: default for name, (_, default) in pairs.items() if default is not NO_DEFAULT}
    # A dataclass has what has a default last.
    types = {name: pairs[name][0] for name in sorted(pairs, key=lambda name: name in body)}
    body |= {f"upcast_v{n}_v{n + 1}": staticmethod(lambda _state: None) for n in upcasts}
    versioned = {"class_version": version} if version > 1 else {}
    annotations = {**types, "class_version": ClassVar[int]}
    body |= {"__annotations__": annotations, "__qualname__": "Book.Sold", **versioned}
    body["__module__"] = f"program{next(PROGRAMS)}"  # The library wants a topic to have one class.
    return cast("type[Event]", type("Sold", (Aggregate.Event,), body))


def as_pair(given: Any) -> tuple[Any, Any]:
    return given if isinstance(given, tuple) else (given, NO_DEFAULT)


def document(*classes: type[Event], kept: Document | None = None) -> Document:
    return described([shop(*classes)], KafkaSettings(), kept)


def found(older: type[Event], newer: type[Event]) -> list[Break]:
    return breaks(document(older), document(newer))


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (sold(price=int), sold(price=int)),
        (sold(price=int), sold(price=int, shop=(str, "here"))),
        (sold(price=int | None), sold(price=None | int)),
        (sold(price=str | int), sold(price=int | str)),
        (sold(price=Colour), sold(price=Hue)),
        (sold(price=Money), sold(price=MoneyPerhapsOfACountry)),
        (sold(price=list[Money]), sold(price=list[MoneyPerhapsOfACountry])),
        (sold(price=int), sold(2, (1,), cost=str)),
        (sold(2, price=int), sold(3, (2,), cost=str)),
    ],
)
def test_what_breaks_no_reader_is_allowed(older: type[Event], newer: type[Event]) -> None:
    assert found(older, newer) == []


@pytest.mark.parametrize(
    ("older", "newer", "problem"),
    [
        (sold(price=int), sold(), "attribute 'price' is gone"),
        (sold(price=(int, 1)), sold(), "attribute 'price' is gone"),
        (sold(price=int), sold(cost=int), "'price' is gone.* 'cost' is new without a default"),
        (sold(), sold(price=int), "attribute 'price' is new without a default value"),
        (sold(price=int), sold(price=str), "'price' takes other values: .*integer.*string"),
        (sold(price=int), sold(price=int | None), "'price' takes other values"),
        (sold(price=int | None), sold(price=int), "'price' takes other values"),
        (sold(price=list[int]), sold(price=list[str]), "'price' takes other values"),
        (sold(price=dict[str, int]), sold(price=dict[str, str]), "'price' takes other values"),
        (sold(price=Colour), sold(price=MoreColours), "'price' takes other values: .*blue"),
        (sold(price=UUID), sold(price=str), "'price' takes other values"),
        (sold(price=datetime), sold(price=str), "'price' takes other values"),
        (sold(price=Decimal), sold(price=str), "'price' takes other values"),
        (sold(price=Decimal), sold(price=float), "'price' takes other values"),
        (sold(price=list[UUID]), sold(price=list[UUID | None]), "'price' takes other values"),
        (sold(price=Price), sold(price=str), "'price' takes other values: .*\"price\""),
        (sold(price=Price), sold(price=Cost), "'price' takes other values: .*price.*cost"),
        (sold(price=list[Price]), sold(price=list[Cost]), "'price' takes other values"),
        (sold(price=tuple[int, str]), sold(price=tuple[int, int]), "'price' takes other values"),
        (sold(price=(int, 1)), sold(price=int), "'price' has no default value any more"),
        (sold(price=int), sold(price=(int, 1)), "'price' has a default value now"),
        (sold(price=(int, 1)), sold(price=(int, 2)), "'price' has another default value"),
        (sold(price=Money), sold(price=MoneyOfACountry), "'price'.'country' is new without"),
        (sold(price=MoneyOfACountry), sold(price=Money), "'price'.'country' is gone"),
        (sold(price=Money), sold(price=Text), "'price'.'amount' takes other values"),
        (sold(price=list[Money]), sold(price=list[Text]), "'price'.'amount' takes other values"),
        (sold(price=Money | None), sold(price=Text | None), "'price'.'amount' takes other values"),
        (sold(), sold(2), "version 1 can't be read.* upcast_v1_v2"),
        (sold(), sold(3, (2,)), "version 1 can't be read.* upcast_v1_v2"),
        (sold(2), sold(3), "version 2 can't be read.* upcast_v2_v3"),
        (sold(2), sold(), "class_version is 1, and was 2 before.* class_version = 2"),
    ],
)
def test_what_breaks_a_reader_is_found_and_named(
    older: type[Event], newer: type[Event], problem: str
) -> None:
    (only,) = found(older, newer)

    assert str(only).startswith("Book.Sold: ")
    with pytest.raises(ValueError, match=problem):
        raise ValueError(str(only))


def test_it_is_said_what_to_do() -> None:
    (only,) = found(sold(price=int), sold(cost=int))

    assert "class_version = 2" in only.advice
    assert "upcast_v1_v2" in only.advice
    assert "default value" in only.advice


def test_an_event_class_that_is_gone_is_found() -> None:
    (only,) = breaks(document(sold()), document())

    assert only.event == "Book.Sold"
    assert "Keep the class" in only.advice


def test_a_new_event_class_breaks_nobody() -> None:
    assert breaks(document(), document(sold())) == []


def test_a_version_long_gone_must_be_readable_too() -> None:
    """It is in the topic still, although the kept document was written anew since."""
    first, second, third = sold(price=int), sold(2, (1,), cost=int), sold(3, (2,), total=int)

    kept = document(second, kept=document(first))

    (only,) = breaks(kept, document(third, kept=kept))
    assert "version 1 can't be read" in only.problem
    assert breaks(kept, document(sold(3, (1, 2), total=int), kept=kept)) == []


def test_an_object_inside_itself_is_compared_once() -> None:
    assert found(sold(tree=Tree), sold(tree=Tree)) == []


def in_first_format(**attributes: Any) -> Document:
    """Return a document as the first wire format had it, of an event with such attributes."""
    kept = document(sold(**attributes))
    kept["info"]["version"] = "1.0"
    schema = kept["components"]["schemas"]["Shop.Book.Sold"]
    typed = TypedDict("Sold", attributes)  # type: ignore[misc]
    (root,), components = msgspec.json.schema_components(
        [typed], ref_template="#/components/schemas/Shop.Book.Sold/$defs/{name}"
    )
    schema["properties"].update(components.pop(root["$ref"].rpartition("/")[2])["properties"])
    schema["$defs"] = components
    return kept


FIRST_FORMAT: list[Any] = [
    int,
    int | None,
    str | int | None,
    float,
    list[float | None],
    UUID | None,
    list[UUID],
    dict[str, list[UUID | None]],
    dict[int, Decimal],
    datetime | None,
    list[datetime],
    tuple[int, UUID],
    tuple[str, ...],
    Literal["a", "b"],
    Colour | None,
    Money,
    list[MoneyPerhapsOfACountry] | None,
]


@pytest.mark.parametrize("hint", FIRST_FORMAT, ids=str)
def test_what_the_first_wire_format_wrote_in_another_way_breaks_nobody(hint: Any) -> None:
    assert breaks(in_first_format(price=hint), document(sold(price=hint))) == []


@pytest.mark.parametrize("hint", FIRST_FORMAT, ids=str)
def test_what_breaks_a_reader_of_the_first_wire_format_is_found(hint: Any) -> None:
    (only,) = breaks(in_first_format(price=hint), document(sold(price=list[bool])))

    assert "'price' takes other values" in only.problem


ATTRIBUTES = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(
        [
            int,
            str,
            bool,
            UUID,
            int | None,
            list[int],
            Money,
            MoneyOfACountry,
            MoneyPerhapsOfACountry,
            (int, 1),
            (int, 2),
            (str, "x"),
            (int | None, None),
            Price,
            list[Price],
            float,
            datetime,
        ]
    ),
)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_where_nothing_is_found_each_program_reads_what_the_other_writes(
    data: st.DataObject,
) -> None:
    attributes = data.draw(ATTRIBUTES)
    classes = (sold(**attributes), sold(**{**attributes, **data.draw(ATTRIBUTES)}))
    assume(not found(*classes))
    for writer, reader in (classes, classes[::-1]):
        record = plain(published(shop(writer), data.draw(events_of(EventType(writer)))))
        language = shop(reader)
        wire = WireFormat("Shop", language.types, language.mapper)
        stored_under = {"ce_storedtopic": get_topic(reader)}
        headers = [(n, text.encode()) for n, text in {**record["headers"], **stored_under}.items()]
        envelope = wire.envelope(record["key"].encode(), headers)
        again = wire.to_event(envelope, json.dumps(record["value"]).encode())
        assert str(again.originator_id) == record["key"]
        validators(document(reader), "Shop.Book.Sold")[1].validate(record["value"])


Mutant = Callable[[Schema, str], object]

MUTANTS: dict[str, Mutant] = {
    "removed": lambda schema, name: schema["properties"].pop(name),
    "renamed": lambda schema, name: schema["properties"].update(
        {f"{name}2": schema["properties"].pop(name)}
    ),
    "retyped": lambda schema, name: schema["properties"].update({name: {"type": "boolean"}}),
    "optional": lambda schema, name: schema["required"].remove(name),
    "added": lambda schema, name: (
        schema["properties"].update({f"{name}2": {}}),
        schema["required"].append(f"{name}2"),
    ),
}


OF_REQUIRED = ("removed", "optional")
"""An attribute that has a default may come or go."""


def mutations(mutant: str) -> Iterator[tuple[str, str, str]]:
    for application in APPLICATIONS:
        for key, schema in event_schemas(document_of(application)).items():
            for name in schema["required" if mutant in OF_REQUIRED else "properties"]:
                yield application.name, key, name


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_of_every_attribute_is_found_in_both_directions(mutant: str) -> None:
    documents = {each.name: document_of(each) for each in APPLICATIONS}
    for application, key, name in mutations(mutant):
        now = documents[application]
        other = deepcopy(now)
        MUTANTS[mutant](event_schemas(other)[key], name)
        for older, newer in ((now, other), (other, now)):
            (only,) = breaks(older, newer)
            assert f"{application}.{only.event}" == key
            assert f"'{name}" in only.problem
