"""The kit for tests, on the views of a shop, as the tests of that shop would use it."""

import pytest

from eventsourcing_kafka.consumer.engine.applying import CannotApplyError, OnError
from eventsourcing_kafka.testing import PipelineUnderTest, ViewUnderTest
from eventsourcing_kafka.testing.plugin import database_settings
from tests.anywhere.shop.domainmodel import Order
from tests.anywhere.shop.views import ORDERS, SALES

__all__ = ["database_settings"]


async def test_given_events_then_rows(database_settings: dict[str, str]) -> None:
    order = Order(customer="Ada", cents=100)
    order.pay()

    async with ViewUnderTest(ORDERS, database_settings) as orders:
        await orders.given(*order.collect_events())

        rows = await orders.rows("SELECT id, customer, cents, paid FROM {schema}.orders")
        assert rows == [(order.id, "Ada", 100, True)]
        assert await orders.rows("SELECT FROM {schema}.orders WHERE customer = %s", "Bob") == []


async def test_what_the_application_does_is_applied_and_again(
    database_settings: dict[str, str],
) -> None:
    async with ViewUnderTest(SALES, database_settings) as sales:
        for customer in ("Ada", "Bob", "Ada"):
            sales.application.place(customer, 100)
            await sales.apply()
        statement = "SELECT customer, sum(orders) FROM {schema}.sales GROUP BY 1 ORDER BY 1"
        assert await sales.rows(statement) == [("Ada", 2), ("Bob", 1)]

        await sales.replay()

        assert await sales.rows(statement) == [("Ada", 2), ("Bob", 1)]


async def test_an_event_that_can_not_be_applied_fails_the_test_or_is_parked(
    database_settings: dict[str, str],
) -> None:
    async with ViewUnderTest(ORDERS, database_settings) as orders:
        order_id = orders.application.place("Eve", -1)
        with pytest.raises(CannotApplyError):
            await orders.apply()

        await orders.apply(OnError.PARK)

        (parked,) = await orders.parked()
        assert parked.originator_id == str(order_id)
        assert "can't cost less than nothing" in parked.reason


async def test_a_whole_pipeline_runs_in_the_process_of_the_test(
    environment: dict[str, str], database_settings: dict[str, str]
) -> None:
    settings = environment | database_settings | {"KAFKA_TOPIC_PARTITIONS": "2"}
    async with PipelineUnderTest([ORDERS, SALES], settings) as shop:
        await shop.do(shop.application.place, "Ada", 100)
        await shop.applied()

        assert await shop.rows(ORDERS, "SELECT customer FROM {schema}.orders") == [("Ada",)]
        assert await shop.rows(SALES, "SELECT customer, orders FROM {schema}.sales") == [("Ada", 1)]
