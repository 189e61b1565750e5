"""A pipeline of the test's own, on the session's servers."""

from collections.abc import Iterator

import pytest

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings

from .pipeline import PARTITIONS, Pipeline, Progress


@pytest.fixture
def pipeline(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    settings = KafkaSettings.from_env({**environment, "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS)})
    with ContentManagement(environment) as app:
        yield Pipeline(app, settings, Progress(monkeypatch))
