"""What is asked about orders: each one as it is, and what each customer has paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, sql

from eventsourcing_kafka import (
    AggregateHistory,
    Comparison,
    Disposition,
    Event,
    EventTypes,
    Place,
    View,
)

from .domainmodel import Order

TYPES = EventTypes.of(Order)

CREATE_ORDERS: LiteralString = """
    CREATE TABLE {schema}.orders (
        id uuid PRIMARY KEY,
        partition integer NOT NULL,
        customer text NOT NULL,
        cents integer NOT NULL CHECK (cents >= 0),
        paid boolean NOT NULL DEFAULT false
    )
"""
INSERT_ORDER: LiteralString = """
    INSERT INTO {schema}.orders (id, partition, customer, cents) VALUES (%s, %s, %s, %s)
"""
UPDATE_ORDER: LiteralString = "UPDATE {schema}.orders SET paid = true WHERE id = %s"

SELECT_ORDERS: LiteralString = """
    SELECT id, partition, customer, cents, paid FROM {schema}.orders ORDER BY id
"""

CREATE_SALES: LiteralString = """
    CREATE TABLE {schema}.sales (
        partition integer NOT NULL,
        customer text NOT NULL,
        orders integer NOT NULL,
        PRIMARY KEY (partition, customer)
    )
"""
ADD_SALE: LiteralString = """
    INSERT INTO {schema}.sales AS known VALUES (%s, %s, %s)
        ON CONFLICT (partition, customer) DO UPDATE SET orders = known.orders + excluded.orders
"""


class OrdersUnitOfWork:
    """A statement for each event."""

    def __init__(self, schema: str) -> None:
        self._schema = sql.Identifier(schema)
        self._changes: list[tuple[LiteralString, Sequence[Any]]] = []

    async def read(
        self,
        connection: AsyncConnection[Any],
        originators: Collection[str],
        events: Sequence[Event],
    ) -> None:
        """Read nothing."""

    def apply(self, event: Event, place: Place) -> None:
        """Say what the row becomes."""
        match event:
            case Order.Placed(originator_id=order_id, customer=customer, cents=cents):
                if cents < 0:
                    raise ValueError("an order can't cost less than nothing")
                row = [order_id, place.partition, customer, cents]
                self._changes.append((INSERT_ORDER, row))
            case Order.Paid(originator_id=order_id):
                self._changes.append((UPDATE_ORDER, [order_id]))

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing follows from a dropped event."""

    async def write(self, connection: AsyncConnection[Any]) -> None:
        """Run the statements."""
        for statement, values in self._changes:
            await connection.execute(sql.SQL(statement).format(schema=self._schema), values)


class SalesUnitOfWork:
    """A sum for each customer."""

    def __init__(self, schema: str) -> None:
        self._schema = sql.Identifier(schema)
        self._orders: Counter[tuple[int, str]] = Counter()

    async def read(
        self,
        connection: AsyncConnection[Any],
        originators: Collection[str],
        events: Sequence[Event],
    ) -> None:
        """Read nothing."""

    def apply(self, event: Event, place: Place) -> None:
        """Add an order."""
        if isinstance(event, Order.Placed):
            self._orders[place.partition, event.customer] += 1

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing follows from a dropped event."""

    async def write(self, connection: AsyncConnection[Any]) -> None:
        """Add to what is there."""
        statement = sql.SQL(ADD_SALE).format(schema=self._schema)
        for (partition, customer), orders in self._orders.items():
            await connection.execute(statement, [partition, customer, orders])


class OrderRow(NamedTuple):
    """An order."""

    id: UUID
    partition: int
    customer: str
    cents: int
    paid: bool

    @property
    def key(self) -> UUID:
        """The rows are ordered by order."""
        return self.id

    @property
    def name(self) -> str:
        """An order has no name but its ID."""
        return f"order {self.id}"

    @property
    def originator_id(self) -> UUID:
        """A row is about its order."""
        return self.id


async def audit(view: Comparison, histories: AsyncIterator[AggregateHistory]) -> None:
    """Compare each order with its events."""
    async with view.table("orders", OrderRow, SELECT_ORDERS) as orders:
        async for order_id, partition, history in histories:
            row: OrderRow | None = None
            async for event, _, disposition in history:
                if disposition is Disposition.APPLIED:
                    match event:
                        case Order.Placed(customer=customer, cents=cents):
                            row = OrderRow(order_id, partition, customer, cents, paid=False)
                        case Order.Paid():
                            row = row and row._replace(paid=True)
            await orders.expect(order_id, row)


SHOP = f"{__package__}.application:Shop"

ORDERS = View(
    name="orders",
    application_name="Shop",
    application_topic=SHOP,
    types=TYPES,
    wanted=TYPES,
    tables=["orders"],
    aggregate_columns={"orders": "id"},
    create=[CREATE_ORDERS],
    unit_of_work=OrdersUnitOfWork,
    audit=audit,
)

SALES = View(
    name="sales",
    application_name="Shop",
    application_topic=SHOP,
    types=TYPES,
    wanted=EventTypes.of(Order),
    tables=["sales"],
    create=[CREATE_SALES],
    unit_of_work=SalesUnitOfWork,
)

RIVAL = View(
    name="orders",
    application_name="Shop",
    types=TYPES,
    wanted=TYPES,
    tables=["sales"],
    create=[CREATE_SALES],
    unit_of_work=SalesUnitOfWork,
)
"""Another view of the same name."""
