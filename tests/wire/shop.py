"""Events with every kind of attribute, and classes that have changed since they were first used."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar, cast
from uuid import UUID, uuid4

from eventsourcing.domain import Aggregate, event

from eventsourcing_kafka.producer.wire.event_types import Event


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: str


class Order(Aggregate):
    class Priced(Aggregate.Event):
        value: Decimal

    class Painted(Aggregate.Event):
        value: Colour

    class Paid(Aggregate.Event):
        value: Money

    class Promised(Aggregate.Event):
        value: datetime

    class Dated(Aggregate.Event):
        value: date

    class Packed(Aggregate.Event):
        value: list[dict[str, list[UUID]]]

    class Tagged(Aggregate.Event):
        value: set[str]

    class Numbered(Aggregate.Event):
        value: dict[int, Decimal]

    class Measured(Aggregate.Event):
        value: float

    class Signed(Aggregate.Event):
        value: bytes

    class Answered(Aggregate.Event):
        value: int | str | None

    @event("Noted")
    def note(self, value) -> None:  # type: ignore[no-untyped-def]
        """Make an event whose attribute nobody has annotated."""


class Account(Aggregate):
    class Opened(Aggregate.Event):
        """Once had a `name`, then a `holder`, and now a balance of each day as well."""

        class_version: ClassVar[int] = 3
        holder: str
        balances: dict[int, Decimal]

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            state["holder"] = state.pop("name")

        @staticmethod
        def upcast_v2_v3(state: dict[str, Any]) -> None:
            state["balances"] = {1: Decimal("0.00")}

    class Closed(Aggregate.Event):
        """Got a reason later, without another version: it has a default."""

        reason: str = "unknown"


NOTED = cast("type[Event]", vars(Order)["Noted"])


def happened(cls: type[Event], **attributes: Any) -> Event:
    """Return an event that the first command of a new aggregate could have made."""
    make = cast("Any", cls)
    return cast(
        "Event",
        make(
            originator_id=uuid4(),
            originator_version=1,
            timestamp=Aggregate.Event.create_timestamp(),
            **attributes,
        ),
    )
