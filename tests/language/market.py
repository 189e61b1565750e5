"""Events with every kind of attribute, and an application that stores some in ways of its own."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, ClassVar, Literal, NamedTuple, NotRequired, TypedDict
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import JSONTranscoder, Transcoding


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(StrEnum):
    SMALL = "S"
    LARGE = "L"


@dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: str


class Shape:
    """What one can pay with, or wear."""


@dataclass(frozen=True)
class Round(Shape):
    radius: float


@dataclass(frozen=True)
class Square(Shape):
    side: int


class Point(NamedTuple):
    x: int
    where: UUID


class Address(TypedDict):
    street: str
    since: datetime
    number: NotRequired[int]


class MoneyAsDict(Transcoding):
    class Stored(TypedDict):
        amount: Decimal
        currency: str

    type = Money
    name = "money"

    def encode(self, obj: Money) -> Stored:
        return {"amount": obj.amount, "currency": obj.currency}

    def decode(self, data: Stored) -> Money:
        return Money(**data)


class DateAsISO(Transcoding):
    json_schema: ClassVar = {"type": "string", "format": "date"}
    type = date
    name = "date_iso"

    def encode(self, obj: date) -> str:
        return obj.isoformat()

    def decode(self, data: str) -> date:
        return date.fromisoformat(data)


class ColourAsValue(Transcoding):
    type = Colour
    name = "colour"

    def encode(self, obj: Colour) -> Literal["red", "blue"]:
        return obj.value

    def decode(self, data: str) -> Colour:
        return Colour(data)


class SetAsList(Transcoding):
    """Nobody says what is in it."""

    type = set
    name = "set"

    def encode(self, obj):  # type: ignore[no-untyped-def]
        return sorted(obj)

    def decode(self, data):  # type: ignore[no-untyped-def]
        return set(data)


class RoundAsRadius(Transcoding):
    type = Round
    name = "round"

    def encode(self, obj: Round) -> float:
        return obj.radius

    def decode(self, data: float) -> Round:
        return Round(data)


class SquareAsSide(Transcoding):
    type = Square
    name = "square"

    def encode(self, obj: Square) -> int:
        return obj.side

    def decode(self, data: int) -> Square:
        return Square(data)


TRANSCODINGS = (
    MoneyAsDict(), DateAsISO(), ColourAsValue(), SetAsList(), RoundAsRadius(), SquareAsSide()
)  # fmt: skip


class Stall(Aggregate):
    class Opened(Aggregate.Created):
        """A stall was opened."""

        holder: str
        since: date

    class Sold(Aggregate.Event):
        """Something was sold."""

        price: Money
        prices: list[Money]
        by_day: dict[str, Money]
        colour: Colour | None
        size: Size
        tags: set[str]
        shape: Shape | None

    class Measured(Aggregate.Event):
        """Something was measured."""

        value: float
        perhaps: float | None
        values: list[float]
        by_name: dict[str, float]
        decimals: list[Decimal]

    class Sent(Aggregate.Event):
        """Something was sent."""

        number: int | str | None
        parcels: list[dict[str, list[UUID]]]
        pair: tuple[UUID, UUID]
        mixed: tuple[UUID, int]
        many: tuple[UUID, ...]
        some: list[UUID | None]
        either: list[UUID | Decimal]
        nothing: tuple[()]
        point: Point
        address: Address
        when: list[datetime] | None
        anything: Any
        how: Literal["by foot", "by air", 3] | None

    class Closed(Aggregate.Event):
        """Got its reasons later, without another version: they have defaults."""

        reason: str = "unknown"
        fine: Decimal = Decimal("1.50")
        most: float = float("inf")

    class Renewed(Aggregate.Event):
        """Once had a `name`."""

        class_version: ClassVar[int] = 3
        holder: str

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            state["holder"] = state.pop("name")

        @staticmethod
        def upcast_v2_v3(state: dict[str, Any]) -> None:
            """Change nothing."""

    @event("Noted")
    def note(self, value) -> None:  # type: ignore[no-untyped-def]
        """Make an event whose attribute nobody has annotated."""


class Market(Application[UUID]):
    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        super().register_transcodings(transcoder)
        for transcoding in TRANSCODINGS:
            transcoder.register(transcoding)
