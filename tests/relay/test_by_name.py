"""A relay needs no code of the application: its name and its settings tell how it stores."""

import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import StoredEvent

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.outbox.postgres import UnfitOutboxError
from eventsourcing_kafka.producer.relay import Relay
from eventsourcing_kafka.producer.runtime.applications import known_by_name
from eventsourcing_kafka.producer.runtime.construct import construct
from eventsourcing_kafka.producer.wire import WireFormat
from tests.operations.child import child
from tests.pipeline import RELAY

from .under_test import PARTITIONS, RelayProgress, RelayUnderTest

NAMED = ("producer", "relay", "--name", "Shop")


class Shop(Application[UUID]):
    """What stores: where the relay is, there is none of it."""


@pytest.fixture
def named(environment: dict[str, str]) -> dict[str, str]:
    """The settings of a shop in Postgres."""
    database = environment["CONTENTMANAGEMENT_POSTGRES_DBNAME"]
    partitions = {"KAFKA_TOPIC_PARTITIONS": str(PARTITIONS)}
    return environment | {"SHOP_POSTGRES_DBNAME": database} | partitions


def placed(state: bytes) -> StoredEvent:
    return StoredEvent(uuid4(), 1, "nowhere.shop:Order.Placed", state)


async def test_what_nobody_here_has_a_class_of_is_published(
    named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with construct(Shop, named) as shop:
        shop.recorder.insert_events([placed(b'{"amount":{"_type_":"decimal_str","_data_":"5"}}')])
    with construct(known_by_name("Shop"), named) as app:
        named_only: Any = app
        under_test = RelayUnderTest(
            named_only, KafkaSettings.from_env(named), RelayProgress(monkeypatch)
        )
        await under_test.catch_up()
        (record,) = await under_test.records()

    headers = dict(record.headers)
    assert json.loads(record.value or b"")["amount"] == "5"
    assert headers["ce_type"] == b"Order.Placed"
    assert headers["ce_storedtopic"] == b"nowhere.shop:Order.Placed"
    assert headers["ce_unwrapped"] == b'{"amount":"decimal_str"}'
    assert "nowhere" not in sys.modules


@pytest.mark.usefixtures("programs")
async def test_a_state_that_is_stored_otherwise_ends_it_with_what_to_do(
    named: dict[str, str], tmp_path: Path
) -> None:
    with construct(Shop, named | {"COMPRESSOR_TOPIC": "zlib"}) as shop:
        (event,) = [placed(shop.mapper.compressor.compress(b"{}"))]  # type: ignore[union-attr]
        shop.recorder.insert_events([event])

    async with child(named, tmp_path / "log", *NAMED, module="eventsourcing_kafka") as relay:
        assert await relay.ends() == 1
        assert "Order.Placed" in relay.said
        assert "at position 1, can't be published" in relay.said
        assert "Are COMPRESSOR_TOPIC" in relay.said
        assert "-a module:Class" in relay.said
        assert "Traceback" not in relay.said


async def test_a_name_that_stores_nothing_makes_no_tables(named: dict[str, str]) -> None:
    with construct(known_by_name("Shop"), named) as app:
        relay = Relay(outbox_of(app), WireFormat.of(app), KafkaSettings.from_env(named))
        with pytest.raises(UnfitOutboxError, match=r"shop_events.*Its application makes it"):
            await relay.run()


@pytest.mark.usefixtures("programs")
async def test_which_application_is_always_said(
    environment: dict[str, str], tmp_path: Path
) -> None:
    unnamed = {name: it for name, it in environment.items() if name != "APPLICATION_TOPIC"}
    async with child(unnamed, tmp_path / "log", *RELAY[:2], module="eventsourcing_kafka") as relay:
        assert await relay.ends() == 2
        assert "Which application?" in relay.said
