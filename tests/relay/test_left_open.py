"""A transaction that Kafka takes for ended, and whose markers it has lost."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer.transaction_manager import TransactionManager
from msgspec.structs import replace

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.producer.relay import Publisher

from .pipeline import Pipeline, positions

LOST = "Kafka has lost the end of a transaction"
UNVERIFIED = {"transaction.partition.verification.enable": "false"}
"""The broker takes records of a transaction that its coordinator has not heard of."""


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Kafka]:
    async with Kafka(tmp_path / "kafka", heap="256m", properties=UNVERIFIED) as broker:
        yield broker


async def test_its_events_are_found_once(
    pipeline: Pipeline,
    broker: Kafka,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline.settings = replace(pipeline.settings, bootstrap_servers=broker.bootstrap_servers)
    pipeline.write(20)
    await pipeline.catch_up()

    last = pipeline.write(20)
    with monkeypatch.context() as patched:
        forget_transactions(patched)
        async with Publisher.connected(pipeline.wire, pipeline.settings, "by hand") as publisher:
            notifications = pipeline.app.recorder.select_notifications(21, 20)
            records = map(pipeline.wire.to_record, notifications)
            await publisher.publish(await publisher.batch(iter(records), last))
    assert (await pipeline.status()).position == 20
    assert LOST not in caplog.text
    await pipeline.catch_up()
    assert caplog.text.count(LOST) == 1
    await pipeline.catch_up()
    assert caplog.text.count(LOST) == 1

    assert sorted(positions(await pipeline.records())) == list(range(1, last + 1))
    assert (await pipeline.status()).position == last


def forget_transactions(patched: pytest.MonkeyPatch) -> None:
    """Have a producer tell the coordinator nothing, as if that had forgotten it."""

    async def commit(_: AIOKafkaProducer) -> None: ...

    def add(transaction: Any, partition: object) -> None:
        transaction.txn_partitions.add(partition)

    patched.setattr(AIOKafkaProducer, "commit_transaction", commit)
    patched.setattr(TransactionManager, "maybe_add_partition_to_txn", add)
