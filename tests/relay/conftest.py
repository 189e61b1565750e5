"""A relay of the test's own, on the session's servers."""

from collections.abc import Callable, Iterator

import pytest

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from tests.conftest import settings

from .under_test import PARTITIONS, RelayProgress, RelayUnderTest


@pytest.fixture
def environment(
    kafka: Kafka, postgres: Postgres, database: Callable[[str], str], token: str
) -> dict[str, str]:
    """The settings of a write model and its topics. Nobody here has a view."""
    return settings(kafka, postgres, database, token, views=False)


@pytest.fixture
def under_test(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RelayUnderTest]:
    kafka_settings = KafkaSettings.from_env(
        {**environment, "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS)}
    )
    with ContentManagement(environment) as app:
        yield RelayUnderTest(app, kafka_settings, RelayProgress(monkeypatch))
