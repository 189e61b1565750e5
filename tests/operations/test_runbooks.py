"""What the operator's page tells to do when something is lost or moved has the end that it tells.

Each view here counts what it applies: an event too many or too few would show.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from eventsourcing_kafka.compose.audit import audit
from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.consumer.engine.subscription import Pacing
from eventsourcing_kafka.consumer.operations.rebuild import Rebuild
from eventsourcing_kafka.consumer.views import activity
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import OtherWriteModelError, Publisher, Relay
from eventsourcing_kafka.producer.wire import WireFormat
from eventsourcing_kafka.testing.plugin import QUICK_TO_GIVE_UP
from tests.chaos.damage import delete_topics, earlier_copy, put_back
from tests.pipeline import Pipeline

OFTEN = Pacing(check_seconds=0.2)
"""How often a quiet partition is looked at, where a test waits for it."""


@asynccontextmanager
async def running(environment: dict[str, str]) -> AsyncIterator[Pipeline]:
    """Run a relay and a consumer until the view has everything, and see that all is whole."""
    async with Pipeline(environment, consumers=0, view=activity.VIEW) as pipeline:
        pipeline.start_consumer(pipeline.consumer(pacing=OFTEN))
        yield pipeline
        await pipeline.settled()
    report = await audit(environment, ["activity"])
    assert report.clean, report.findings


@asynccontextmanager
async def another_broker(folder: Path) -> AsyncIterator[Kafka]:
    async with Kafka(folder / "kafka", properties=QUICK_TO_GIVE_UP) as broker:
        yield broker


def topics_of(pipeline: Pipeline) -> Sequence[str]:
    topics = Topics.of("ContentManagement", pipeline.settings)
    return [topics.events, topics.position]


async def test_a_view_goes_on_under_another_prefix_without_a_rebuild(
    environment: dict[str, str],
) -> None:
    async with running(environment) as pipeline:
        await pipeline.write("roses", "red\n", "white\n")
        # It will be published anew in fewer transactions: each takes an offset, so others follow.
        await pipeline.settled()
        await pipeline.write("violets", "blue\n")

    moved = {**environment, "KAFKA_TOPIC_PREFIX": f"v2.{environment['KAFKA_TOPIC_PREFIX']}"}
    async with running(moved) as pipeline:
        await pipeline.write("lilies", "white\n")


@pytest.mark.usefixtures("programs")
async def test_a_view_goes_on_on_another_cluster_without_a_rebuild(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with running(environment) as pipeline:
        await pipeline.write("roses", "red\n", "white\n")

    async with another_broker(tmp_path) as broker:
        moved = {**environment, "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
        async with running(moved) as pipeline:
            await pipeline.write("lilies", "white\n")


@pytest.mark.parametrize("lost", [slice(1), slice(2)], ids=["events", "events and position"])
async def test_a_topic_that_is_lost_is_published_again_and_the_view_goes_on(
    environment: dict[str, str], lost: slice
) -> None:
    async with running(environment) as pipeline:
        await pipeline.write("roses", "red\n", "white\n")

    await delete_topics(environment["KAFKA_BOOTSTRAP_SERVERS"], topics_of(pipeline)[lost])

    async with running(environment) as pipeline:
        await pipeline.write("lilies", "white\n")


async def test_what_is_published_anew_to_the_offsets_of_what_was_no_record_is_applied(
    environment: dict[str, str],
) -> None:
    environment["KAFKA_TOPIC_PARTITIONS"] = "1"
    async with running(environment) as pipeline:
        await pipeline.write("roses")
        await pipeline.settled()
        # The record that is applied last keeps its offset, and so does the end of the partition.
        await aborted(pipeline, records=1)
        (end,) = (await pipeline.ends()).values()

    await delete_topics(environment["KAFKA_BOOTSTRAP_SERVERS"], topics_of(pipeline))

    async with Pipeline(environment, consumers=0, relay=False) as pipeline:
        await pipeline.do(pipeline.wiki.update_body, "roses", "red\n")
        await pipeline.do(pipeline.wiki.update_body, "roses", "white\n")
        pipeline.start_relay()
        await pipeline.published()
        assert await pipeline.ends() == {0: end}
    async with running(environment):
        pass


async def aborted(pipeline: Pipeline, records: int) -> None:
    """Have offsets taken by records of a transaction that is aborted, and by its marker."""
    events, _ = topics_of(pipeline)
    producer = AIOKafkaProducer(**pipeline.settings.client(), transactional_id=f"{events}.aborted")
    async with started(producer):
        await producer.begin_transaction()
        for _ in range(records):
            await producer.send_and_wait(events, b"", partition=0)
        await producer.abort_transaction()


@pytest.mark.usefixtures("programs")
async def test_what_a_broker_has_lost_is_published_again_and_the_view_goes_on(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with another_broker(tmp_path) as broker:
        environment["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
        async with running(environment) as pipeline:
            await pipeline.write("roses", "red\n")
        async with earlier_copy(broker) as put_back_copy:
            async with running(environment) as pipeline:
                await pipeline.write("violets", "blue\n", "white\n")
                await pipeline.settled()
                before = await pipeline.ends()
            await broker.kill()
            await put_back_copy()
            await broker.start()
            assert sum((await pipeline.ends()).values()) < sum(before.values())

        async with running(environment) as pipeline:
            await pipeline.write("lilies", "white\n")


async def test_what_a_torn_transaction_has_lost_comes_to_the_view(
    environment: dict[str, str],
) -> None:
    async with running(environment) as pipeline:
        await pipeline.write("roses", "red\n")

    async with Pipeline(environment, consumers=0, relay=False) as pipeline:
        await pipeline.write("violets", "blue\n", "white\n")
        outbox, wire = outbox_of(pipeline.wiki), WireFormat.of(pipeline.wiki)
        async with Publisher.connected(wire, pipeline.settings, "torn") as publisher:
            assert publisher.last
            start, head = publisher.last.position, await outbox.head()
            new = pipeline.wiki.recorder.select_notifications(start + 1, 1000)
            batch = await publisher.batch(map(wire.to_record, new), head)
            batch.by_partition.popitem()  # Kafka commits the rest, with the position record.
            await publisher.publish(batch)

    async with running(environment) as pipeline:
        await pipeline.write("lilies", "white\n")


async def test_a_restored_write_model_is_refused_and_a_newer_backup_goes_on(
    environment: dict[str, str], postgres: Postgres
) -> None:
    async with running(environment) as pipeline:
        await pipeline.write("roses", "red\n", "white\n")

    dsn = postgres.dsn(environment["CONTENTMANAGEMENT_POSTGRES_DBNAME"])
    async with put_back(dsn, 2), Pipeline(environment, consumers=0, relay=False) as pipeline:
        await pipeline.write("thorns", "sharp\n", "sharper\n")
        with pytest.RaisesGroup(OtherWriteModelError, flatten_subgroups=True):
            await relay_of(pipeline).run()

    async with running(environment) as pipeline:
        await pipeline.write("lilies", "white\n")


async def test_a_restored_write_model_is_published_to_new_topics_and_views_are_rebuilt(
    environment: dict[str, str], postgres: Postgres
) -> None:
    async with running(environment) as pipeline:
        await pipeline.write("roses", "red\n", "white\n")

    dsn = postgres.dsn(environment["CONTENTMANAGEMENT_POSTGRES_DBNAME"])
    environment["KAFKA_TOPIC_PREFIX"] = f"v2.{environment['KAFKA_TOPIC_PREFIX']}"
    async with put_back(dsn, 2):
        async with Pipeline(environment, consumers=0, view=activity.VIEW) as pipeline:
            await pipeline.write("thorns", "sharp\n", "sharper\n")
            await pipeline.published()
            await Rebuild(pipeline.store, pipeline.settings).run(lambda _: None)

        async with running(environment) as pipeline:
            await pipeline.write("lilies", "white\n")


def relay_of(pipeline: Pipeline) -> Relay:
    return Relay(outbox_of(pipeline.wiki), WireFormat.of(pipeline.wiki), pipeline.settings)
