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

from .under_test import RelayUnderTest, as_an_older_cluster, positions

LOST = "Kafka has lost the end of a transaction"
UNVERIFIED = {"transaction.partition.verification.enable": "false"}
"""The broker takes records of a transaction that its coordinator has not heard of."""


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Kafka]:
    async with Kafka(tmp_path / "kafka", heap="256m", properties=UNVERIFIED) as broker:
        yield broker


@pytest.mark.usefixtures("programs")
async def test_its_events_are_found_once(
    under_test: RelayUnderTest,
    broker: Kafka,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    under_test.settings = replace(under_test.settings, bootstrap_servers=broker.bootstrap_servers)
    under_test.write(20)
    await under_test.catch_up()

    last = under_test.write(20)
    with monkeypatch.context() as patched:
        as_an_older_cluster(patched)  # One that has to be told, and may forget.
        forget_transactions(patched)
        async with Publisher.connected(
            under_test.wire, under_test.settings, "by hand"
        ) as publisher:
            notifications = under_test.app.recorder.select_notifications(21, 20)
            records = map(under_test.wire.to_record, notifications)
            await publisher.publish(await publisher.batch(iter(records), last))
    assert (await under_test.status()).position == 20
    assert LOST not in caplog.text
    await under_test.catch_up()
    assert caplog.text.count(LOST) == 1
    await under_test.catch_up()
    assert caplog.text.count(LOST) == 1

    assert sorted(positions(await under_test.records())) == list(range(1, last + 1))
    assert (await under_test.status()).position == last


def forget_transactions(patched: pytest.MonkeyPatch) -> None:
    """Have a producer tell the coordinator nothing, as if that had forgotten it."""

    async def commit(_: AIOKafkaProducer) -> None: ...

    def add(transaction: Any, partition: object) -> None:
        transaction.txn_partitions.add(partition)

    patched.setattr(AIOKafkaProducer, "commit_transaction", commit)
    patched.setattr(TransactionManager, "maybe_add_partition_to_txn", add)
