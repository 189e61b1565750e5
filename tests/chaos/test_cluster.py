"""Three brokers, of which one is killed, or stands still, and comes back under load."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from eventsourcing_kafka.compose.audit import audit
from eventsourcing_kafka.compose.servers.kafka import Kafka, cluster
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.relay import read_risks
from eventsourcing_kafka.producer.relay.topics import prepare_topics
from eventsourcing_kafka.producer.runtime.retry import is_transient
from tests.pipeline import Pipeline

STARTS = 20
"""Of relays, so that some meet the broker that is dead: each asks one that it chooses at random."""
START_SECONDS = 5.0


@pytest.fixture
async def brokers(programs: None, tmp_path: Path) -> AsyncIterator[list[Kafka]]:
    async with cluster(tmp_path, heap="192m") as brokers:
        yield brokers


@pytest.fixture
def environment(
    brokers: list[Kafka], postgres: Postgres, database: Callable[[str], str]
) -> dict[str, str]:
    names = ("contentmanagement", "fts", "activity")
    return {
        **postgres_environment(postgres, {name.upper(): database(name) for name in names}),
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(broker.bootstrap_servers for broker in brokers),
        "KAFKA_TOPIC_PARTITIONS": "3",
        "KAFKA_REQUEST_TIMEOUT_MS": "3000",
        "KAFKA_SESSION_TIMEOUT_MS": "6000",
    }


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_a_broker_that_is_missed_and_comes_back_loses_and_doubles_nothing(
    environment: dict[str, str], brokers: list[Kafka], how: str
) -> None:
    async with Pipeline(environment, consumers=2) as pipeline:
        await pipeline.write("before", "one\n", "two\n")
        await pipeline.write("load")
        await pipeline.settled()
        assert await replicas(pipeline.settings) == 3
        assert await read_risks("ContentManagement", pipeline.settings) == []

        async with anyio.create_task_group() as load:
            load.start_soon(write_until, pipeline, stopped := anyio.Event())
            async with without(brokers[0], how):
                await pipeline.write("without", "one\n", "two\n")
                await pipeline.applied()
            await pipeline.write("after", "one\n", "two\n")
            stopped.set()
        await pipeline.settled()

        assert await pipeline.pages() == await pipeline.expected_pages()
        report = await audit(environment, ["fts"])
        assert report.clean, report.findings

        # What a topic has that was made by somebody else.
        alter = ("--alter", "--entity-type", "topics", "--add-config", "min.insync.replicas=1")
        await brokers[0].tool("configs", *alter, "--entity-name", "contentmanagement.events")
        (risk,) = await read_risks("ContentManagement", pipeline.settings)
        assert "contentmanagement.events has 3 replicas and min.insync.replicas=1" in risk

    # Publish the same again, to topics of another prefix.
    setting = {"KAFKA_TOPIC_PREFIX": "other.", "KAFKA_TOPIC_REPLICATION_FACTOR": "2"}
    async with Pipeline({**environment, **setting}, consumers=0) as pipeline:
        await pipeline.published()
        assert await replicas(pipeline.settings) == 2


async def test_a_relay_whose_topics_are_there_does_not_wait_for_a_broker_that_is_dead(
    programs: None, tmp_path: Path
) -> None:
    unnoticed = {"broker.session.timeout.ms": "60000"}
    async with cluster(tmp_path, heap="192m", properties=unnoticed) as brokers:
        servers = ",".join(broker.bootstrap_servers for broker in brokers)
        settings = KafkaSettings(bootstrap_servers=servers, topic_partitions=3)
        assert await prepared(settings)
        await brokers[0].kill()

        assert any([await prepared(settings) for _ in range(STARTS)])


async def prepared(settings: KafkaSettings) -> bool:
    """Tell whether the topics are prepared, or a relay would have to try again, at once."""
    topics = Topics.of("ContentManagement", settings)
    with anyio.fail_after(START_SECONDS):
        try:
            async with started(AIOKafkaAdminClient(**settings.client())) as admin:
                return await prepare_topics(admin, topics, settings) == 3
        except KafkaError as error:
            if not is_transient(error):
                raise
            return False


@asynccontextmanager
async def without(broker: Kafka, how: str) -> AsyncIterator[None]:
    """Do without a broker that is dead, or that holds its connections and says nothing."""
    if how == "killed":
        await broker.kill()
        yield
        await broker.start()
    else:
        broker.pause()
        try:
            yield
        finally:
            broker.resume()


async def write_until(pipeline: Pipeline, stopped: anyio.Event) -> None:
    """Edit one page again and again: no other command can be in conflict with that."""
    for edit in count():
        if stopped.is_set():
            return
        await pipeline.do(pipeline.wiki.update_body, "load", f"{edit}\n")


async def replicas(settings: KafkaSettings) -> int:
    """Return how many replicas each partition of the topics has."""
    topics = Topics.of("ContentManagement", settings)
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        described = await admin.describe_topics([topics.events, topics.position])
        (count,) = {len(at["replicas"]) for topic in described for at in topic["partitions"]}
        return count
