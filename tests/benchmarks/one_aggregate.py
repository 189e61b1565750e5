"""One aggregate made again, however many events others have: nothing of those is read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import LiteralString

import anyio

from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.history import History
from eventsourcing_kafka.consumer.operations.one_aggregate import replay_aggregate
from eventsourcing_kafka.consumer.views.activity import VIEW
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from tests.benchmarks.figures import Line, Sample, within
from tests.benchmarks.servers import LOOK_SECONDS, Environment, World, relayed, seconds_since

EVENTS = 1_000_000
REPLAYED = 20
AT_MOST_MS = 1000.0

SELECT_SOME: LiteralString = """
    SELECT page_id::text FROM {schema}.pages ORDER BY md5(page_id::text) LIMIT %s
"""


def one_aggregate(world: World) -> Iterator[Line]:
    """Replay some aggregates, each as a command does that opens the write model for it."""
    events = world.some(EVENTS)
    environment = {**world.small_wiki(events), **world.apart(), "KAFKA_TOPIC_PARTITIONS": "8"}
    anyio.run(relayed, environment)
    environment = world.view(environment, VIEW.name.upper())
    anyio.run(_caught_up, environment, world.size(environment))
    took = anyio.run(_replayed, environment)
    what = f"{VIEW.name}, one aggregate again, of {events:,} events in the topic"
    yield within(what, Sample(took), "ms", AT_MOST_MS)


async def _caught_up(environment: Environment, events: int) -> None:
    store = ViewStore.of(VIEW, environment)
    consumer = Consumer(store, KafkaSettings.from_env(environment))
    async with anyio.create_task_group() as tasks, store.connected() as connection:
        tasks.start_soon(consumer.run)
        await consumer.placed.wait()
        while sum(row.records for row in await store.tracking.progress(connection)) < events:  # noqa: ASYNC110 - it looks, and is not told
            await anyio.sleep(LOOK_SECONDS)
        tasks.cancel_scope.cancel()


async def _replayed(environment: Environment) -> Sequence[float]:
    """Return how many milliseconds each took."""
    store = ViewStore.of(VIEW, environment)
    async with store.connected() as connection:
        cursor = await connection.execute(
            store.sql(SELECT_SOME),
            [REPLAYED],
        )
        aggregates = [aggregate for (aggregate,) in await cursor.fetchall()]
    took = []
    for aggregate in aggregates:
        begin = time.perf_counter()
        async with History.of(VIEW, environment) as history:
            await replay_aggregate(store, history, aggregate)
        took.append(1000 * seconds_since(begin))
    return took
