"""What a relay asks Kafka in a transaction, in the newer way and in the older."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaClient
from msgspec.structs import replace

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.producer.kafka.transactions import FEATURES, FINALIZED_FEATURES, has_newer

from .under_test import RelayUnderTest, as_an_older_cluster, positions

OF_A_TRANSACTION = ("AddPartitionsToTxn", "Produce", "EndTxn")


class Asked:
    """What is asked of brokers in transactions, and in which epochs they end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.epochs: list[int] = []
        send = AIOKafkaClient.send

        async def note(client: AIOKafkaClient, node: int, request: Any, **options: Any) -> Any:
            name = type(request).__name__.removeprefix("_").removesuffix("Request")
            if name in OF_A_TRANSACTION:
                self.names.append(name)
            if name == "EndTxn":
                self.epochs.append(getattr(request, "_older", request)._producer_epoch)
            return await send(client, node, request, **options)

        monkeypatch.setattr(AIOKafkaClient, "send", note)


async def published(under_test: RelayUnderTest, *counts: int) -> Sequence[int]:
    async with under_test.relaying():
        for count in counts:
            await under_test.progress.reached(under_test.write(count))
    return sorted(positions(await under_test.records()))


async def test_nothing_is_asked_before_an_event_is_appended_and_each_transaction_has_an_epoch(
    under_test: RelayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(monkeypatch)

    assert await published(under_test, 1, 1, 1) == [1, 2, 3]

    assert "AddPartitionsToTxn" not in asked.names
    assert asked.names.count("EndTxn") == len(asked.epochs) >= 3
    assert asked.epochs == list(range(asked.epochs[0], asked.epochs[0] + len(asked.epochs)))


async def test_an_older_cluster_is_asked_in_the_older_way(
    under_test: RelayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_an_older_cluster(monkeypatch)
    asked = Asked(monkeypatch)

    assert await published(under_test, 1, 1) == [1, 2]

    assert "AddPartitionsToTxn" in asked.names
    assert len(set(asked.epochs)) == 1


async def test_a_topic_that_one_way_has_begun_is_gone_on_with_in_the_other(
    under_test: RelayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is when a cluster gets its new level, or loses it again."""
    assert await published(under_test, 2) == [1, 2]
    with monkeypatch.context() as older:
        as_an_older_cluster(older)
        assert await published(under_test, 2) == [1, 2, 3, 4]
    assert await published(under_test, 2) == [1, 2, 3, 4, 5, 6]


async def test_a_broker_that_knows_no_features_is_asked_in_the_older_way() -> None:
    async def send(_: int, request: Any) -> Any:
        return request.prepare({request.API_KEY: (0, 2)})

    assert not await has_newer(send, 1)


@pytest.mark.usefixtures("programs")
async def test_the_level_of_a_cluster_may_change_under_a_relay(
    under_test: RelayUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(monkeypatch)
    async with Kafka(tmp_path / "kafka", heap="256m") as broker:
        servers = broker.bootstrap_servers
        under_test.settings = replace(under_test.settings, bootstrap_servers=servers)
        async with under_test.relaying():
            await under_test.progress.reached(under_test.write(3))
            await broker.tool("features", "downgrade", "--feature", "transaction.version=1")
            await under_test.progress.reached(under_test.write(3))
        assert "AddPartitionsToTxn" not in asked.names
        async with under_test.relaying():
            await under_test.progress.reached(under_test.write(3))
            assert "AddPartitionsToTxn" in asked.names
            await broker.tool("features", "upgrade", "--feature", "transaction.version=2")
            await under_test.progress.reached(under_test.write(3))
        assert await published(under_test, 3) == list(range(1, 16))


def features(**levels: int) -> dict[int, bytes]:
    told: list[Any] = [(name.replace("_", "."), level, 0, {}) for name, level in levels.items()]
    return {FINALIZED_FEATURES: FEATURES.encode(told)}


@pytest.mark.parametrize(
    ("code", "tags", "newer"),
    [
        (0, features(metadata_version=25, transaction_version=2), True),
        (0, features(transaction_version=3), True),
        (0, features(transaction_version=1), False),
        (0, features(metadata_version=25), False),
        (0, {}, False),
        (35, {}, False),
    ],
)
async def test_a_cluster_has_the_newer_way_from_a_level_on(
    code: int, tags: dict[int, bytes], newer: bool
) -> None:
    async def send(*_: object) -> Any:
        return SimpleNamespace(error_code=code, tags=tags)

    assert await has_newer(send, 1) is newer
