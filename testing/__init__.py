"""A kit for the tests of one's own views, followers and pipelines.

A view is tested without Kafka, and with all else that is between an event and a row: the event is
stored, becomes a record, is read from it, and is applied in one transaction with its tracking.

    async def test_an_order_that_is_paid(database_settings):
        async with ViewUnderTest(ORDERS, database_settings) as orders:
            order_id = orders.application.place("Ada", 100)
            orders.application.pay(order_id)
            await orders.apply()
            rows = await orders.rows("SELECT customer, paid FROM {schema}.orders")
            assert rows == [("Ada", True)]

A whole pipeline has Kafka in it, a relay, and consumers, all in the test's own process.

    async def test_orders_come_through(environment):
        async with PipelineUnderTest([ORDERS, SALES], environment) as shop:
            await shop.do(shop.application.place, "Ada", 100)
            await shop.applied()
            assert await shop.rows(ORDERS, "SELECT customer FROM {schema}.orders") == [("Ada",)]

The fixtures come with `pytest_plugins = ["eventsourcing_kafka.testing.plugin"]` in a `conftest.py`:
one Kafka and one Postgres for a session, which need nothing installed but the distribution with its
extra `compose`, and pytest; and what each test has for itself.
"""

from eventsourcing_kafka.testing.pipeline import PipelineUnderTest
from eventsourcing_kafka.testing.view import ViewUnderTest
from eventsourcing_kafka.testing.waiting import SECONDS, until

__all__ = ["SECONDS", "PipelineUnderTest", "ViewUnderTest", "until"]

if __name__ != "eventsourcing_kafka.testing":  # Two copies of a module know nothing of each other.
    raise ImportError("This package is called eventsourcing_kafka.testing.")
