"""Which attributes an event can have, and what is said of those that it can't."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, cast
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from eventsourcing.domain import Aggregate

from eventsourcing_kafka.producer.wire import EventTypes, WireError
from eventsourcing_kafka.producer.wire.event_types import Event

from .conversation import written
from .shop import NOTED, Account, Colour, Money, Order, happened

SHOP = EventTypes.of(Order, Account)


def there_and_back(event: Event) -> Event:
    event_type = SHOP.named(type(event).__qualname__)
    return event_type.from_json(event_type.to_json(event))


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize(
    ("cls", "value"),
    [
        (Order.Priced, Decimal("12.50")),
        (Order.Priced, Decimal("1E+30")),
        (Order.Painted, Colour.BLUE),
        (Order.Paid, Money(Decimal("0.10"), "EUR")),
        (Order.Promised, datetime(2026, 7, 1, 12, tzinfo=UTC)),
        (
            Order.Promised,
            datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=-9, minutes=-30))),
        ),
        (Order.Promised, datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Zurich"))),
        (Order.Promised, datetime(2026, 7, 1, 12)),  # noqa: DTZ001 - a local time is one, too
        (Order.Dated, date(2026, 7, 1)),
        (Order.Packed, [{}, {"a": [], "b": [uuid4(), uuid4()]}]),
        (Order.Tagged, {"red", "round"}),
        (Order.Numbered, {1: Decimal(1), -2: Decimal("2.20")}),
        (Order.Measured, 1e-300),
        (Order.Signed, b"\0\xff"),
        (Order.Answered, None),
        (Order.Answered, 2**70),
        (NOTED, "a rose"),
        (NOTED, {"is": ["a", {"rose": [1, 2.5, True, None]}]}),
        (NOTED, nested(100)),
    ],
)
def test_an_attribute_comes_back_as_it_was(cls: type[Event], value: object) -> None:
    event = happened(cls, value=value)

    again = there_and_back(event)

    assert vars(again) == vars(event)
    assert type(vars(again)["value"]) is type(value)


@pytest.mark.parametrize(
    ("cls", "value"),
    [
        (NOTED, {1, 2}),
        (NOTED, (1, 2)),
        (NOTED, UUID(int=1)),
        (NOTED, Decimal("1.0")),
        (NOTED, datetime(2026, 7, 1, tzinfo=UTC)),
        (NOTED, object()),
        (NOTED, Order),
        (NOTED, {(1, 2): "pair"}),
        (NOTED, {1: "number"}),
        (NOTED, "\ud800"),
        (NOTED, {"\ud800": 1}),
        (NOTED, float("nan")),
        (Order.Measured, float("nan")),
        (Order.Measured, float("inf")),
        (Order.Painted, "red"),
        (Order.Priced, 0.1),
        (Order.Tagged, ["red", "red"]),
        (Order.Numbered, [1]),
    ],
)
def test_an_attribute_that_would_not_come_back_is_refused(cls: type[Event], value: object) -> None:
    event = happened(cls, value=value)

    with pytest.raises(WireError) as refused:
        there_and_back(event)

    described = f"{cls.__qualname__} {event.originator_id} version 1"
    assert str(refused.value).startswith(described)


def test_an_attribute_too_deep_for_any_reader_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(WireError, match=r"Order\.Noted .* has no JSON form"):
        there_and_back(happened(NOTED, value=deep))


def test_an_attribute_that_nobody_declared_is_refused() -> None:
    event = happened(Order.Priced, value=Decimal(1))
    vars(event)["smuggled"] = True

    with pytest.raises(WireError, match=r"Order\.Priced .* does not survive JSON"):
        there_and_back(event)


def test_an_event_stored_before_its_attribute_was_added_is_published_with_the_default() -> None:
    event = happened(Account.Closed)
    del vars(event)["reason"]

    again = there_and_back(event)

    assert vars(again) == {**vars(event), "reason": "unknown"}


def test_an_event_class_with_an_attribute_that_json_can_not_carry_is_refused() -> None:
    class Ambiguous(Aggregate.Event):
        value: UUID | datetime  # both are strings in JSON

    with pytest.raises(WireError, match=r"Ambiguous has an attribute type without a JSON form"):
        EventTypes.of(Ambiguous)


def test_two_event_classes_of_one_name_are_refused() -> None:
    other = cast(
        "type[Event]", type("Order.Priced", (Aggregate.Event,), {"__qualname__": "Order.Priced"})
    )
    types = EventTypes.of(Order)

    with pytest.raises(WireError, match=r"would both be published as 'Order\.Priced'"):
        types.register(other)


def test_the_same_event_class_may_be_registered_twice() -> None:
    types = EventTypes.of(Order, Order)

    assert types.register(NOTED) is types.named("Order.Noted")
    assert "Order.Noted" in types
    assert "Order.Burnt" not in types


def test_a_writer_learns_event_classes_from_its_own_store() -> None:
    assert dict(written(happened(NOTED, value=1)).headers)["ce_type"] == b"Order.Noted"
