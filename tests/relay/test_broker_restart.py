"""Losing the broker is waited out."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from eventsourcing_kafka.compose.servers.kafka import Kafka

from .under_test import RelayUnderTest, positions


@pytest.fixture
async def broker(programs: None, tmp_path: Path) -> AsyncIterator[Kafka]:
    async with Kafka(tmp_path / "kafka", heap="256m") as broker:
        yield broker


async def test_a_broker_that_crashes_and_hangs_is_waited_out(
    under_test: RelayUnderTest, broker: Kafka
) -> None:
    under_test.settings = replace(under_test.settings, bootstrap_servers=broker.bootstrap_servers)

    async with under_test.relaying(limit=10, stuck=1):
        await under_test.progress.reached(under_test.write(50))

        under_test.write(1000)
        await broker.kill()
        last = under_test.write(50)
        await broker.start()
        await under_test.progress.reached(last)

        last = under_test.write(50)
        under_test.progress.forget()
        broker.pause()
        await under_test.progress.gave_up.wait()
        broker.resume()
        await under_test.progress.reached(last)

    assert sorted(positions(await under_test.records())) == list(range(1, last + 1))
