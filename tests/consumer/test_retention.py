"""A topic that deletes events is named by whoever follows it, at every start."""

import json
import os
import sys

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from tests.pipeline import Pipeline, until


@pytest.mark.usefixtures("programs")
async def test_a_topic_made_beforehand_with_retention_is_named_by_consumer_relay_and_status(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    environment |= {"KAFKA_TOPIC_PARTITIONS": "1"}
    settings = KafkaSettings.from_env(environment)
    topic = Topics.of("ContentManagement", settings).events
    limited = NewTopic(topic, 1, 1, topic_configs={"retention.ms": "3600000"})
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        await admin.create_topics([limited])
    risk = f"The topic {topic} does not keep its events for ever, retention.ms is 3600000"

    def said() -> list[str]:
        return [each.name.split(".")[1] for each in caplog.records if risk in each.getMessage()]

    async with Pipeline(environment) as pipeline:
        await pipeline.write("roses", "red\n")
        await pipeline.applied()

        async def is_said_by_both() -> bool:
            return sorted(said()) == ["consumer", "producer"]

        await until(is_said_by_both)
        command = [sys.executable, "-m", "eventsourcing_kafka", "consumer", "status", "fts"]
        done = await anyio.run_process([*command, "--json"], env={**os.environ, **environment})
        assert json.loads(done.stdout)[0]["view"] == "fts"
        assert "does not keep its events" in " ".join(done.stderr.decode().split())
