"""Losing the broker is waited out."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from eventsourcing_kafka.compose.servers.kafka import Kafka

from .pipeline import Pipeline, positions


@pytest.fixture
async def broker(programs: None, tmp_path: Path) -> AsyncIterator[Kafka]:
    async with Kafka(tmp_path / "kafka", heap="256m") as broker:
        yield broker


async def test_a_broker_that_crashes_and_hangs_is_waited_out(
    pipeline: Pipeline, broker: Kafka
) -> None:
    pipeline.settings = replace(pipeline.settings, bootstrap_servers=broker.bootstrap_servers)

    async with pipeline.relaying(limit=10, stuck=1):
        await pipeline.progress.reached(pipeline.write(50))

        pipeline.write(1000)
        await broker.kill()
        last = pipeline.write(50)
        await broker.start()
        await pipeline.progress.reached(last)

        last = pipeline.write(50)
        pipeline.progress.forget()
        broker.pause()
        await pipeline.progress.gave_up.wait()
        broker.resume()
        await pipeline.progress.reached(last)

    assert sorted(positions(await pipeline.records())) == list(range(1, last + 1))
