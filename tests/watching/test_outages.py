"""Health turns within seconds of an outage, and back; the loops wait for it meanwhile."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from tests.chaos.proxy import Proxy
from tests.pipeline import Pipeline

from .asking import asked, running, watched_relay, watched_view

WITHIN_SECONDS = 8.0
HEALTH = ("relay_healthy", "view_healthy")
GAPS = ("relay_gap", "view_gap")


@pytest.fixture
async def broker(programs: None, tmp_path: Path) -> AsyncIterator[Kafka]:
    async with Kafka(tmp_path / "kafka", heap="256m") as broker:
        yield broker


async def test_health_turns_when_a_server_is_lost_and_back_when_it_is_there_again(
    environment: dict[str, str],
    postgres: Postgres,
    broker: Kafka,
) -> None:
    proxy = Proxy()
    through = {
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "KAFKA_TOPIC_PARTITIONS": "1",
        "POSTGRES_PORT": str(proxy.port),
    }
    async with (
        running(partial(proxy.serve, postgres.port)),
        Pipeline(environment | through, consumers=0, relay=False) as pipeline,
    ):
        relay, first = watched_relay(pipeline, longest_pause=1.0)
        consumer, second = watched_view(pipeline)
        first.read_seconds = second.read_seconds = 1.0
        async with asked(first, second) as watcher, running(relay.run, consumer.run):
            await pipeline.write("roses", "red\n")
            await watcher.finds(200, "/readyz")

            broker.pause()
            with anyio.fail_after(WITHIN_SECONDS):
                why = await watcher.finds(503)
            kafka = f"Kafka at {broker.bootstrap_servers}"
            assert why == [f"its true head can't be read: no answer from {kafka} within 1 s"] * 2
            told = await watcher.told()
            assert [told.figure(name) for name in HEALTH] == [0, 0]
            assert [told.figure(name) for name in GAPS] == [None, None]
            broker.resume()
            with anyio.fail_after(WITHIN_SECONDS):
                assert await watcher.finds(200, "/readyz") == []

            proxy.cut(refuse_for=2.0)
            with anyio.fail_after(WITHIN_SECONDS):
                assert len(await watcher.finds(503)) >= 2
            last = await watcher.told()
            assert [last.figure(name) for name in GAPS] == [None, None]
            with anyio.fail_after(WITHIN_SECONDS):
                assert await watcher.finds(200, "/readyz") == []
            back = await watcher.told()
            assert [back.figure(name) for name in HEALTH] == [1, 1]
            assert (back.figure("relay_restarts_total") or 0) > 0
