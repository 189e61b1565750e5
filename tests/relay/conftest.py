"""A relay of the test's own, on the session's servers."""

from collections.abc import Iterator

import pytest

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings

from .under_test import PARTITIONS, RelayProgress, RelayUnderTest


@pytest.fixture
def under_test(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RelayUnderTest]:
    settings = KafkaSettings.from_env({**environment, "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS)})
    with ContentManagement(environment) as app:
        yield RelayUnderTest(app, settings, RelayProgress(monkeypatch))
