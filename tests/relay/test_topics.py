"""Topics are made with explicit settings, and those that are there must fit."""

import json
import logging
import os
import sys

import anyio
import pytest
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from msgspec.structs import replace

from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import (
    OtherWriteModelError,
    Relay,
    TopicUnfitError,
    prepare_topics,
    read_risks,
    read_status,
    read_topic,
)
from eventsourcing_kafka.producer.relay.resume import OtherApplicationError
from eventsourcing_kafka.producer.wire import EventTypes, WireFormat

from .under_test import RelayUnderTest


def ends_with(error: type[Exception], match: str) -> pytest.RaisesGroup[Exception]:
    """Expect a relay to end with one error, out of whatever task groups."""
    return pytest.RaisesGroup(pytest.RaisesExc(error, match=match), flatten_subgroups=True)


async def config_of(under_test: RelayUnderTest, topic: str) -> dict[str, str]:
    async with under_test.admin() as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        (response,) = await admin.describe_configs([resource])
        ((_, _, _, _, entries),) = response.resources
        return {name: value for name, value, *_ in entries}


async def risks_in_the_status(environment: dict[str, str]) -> object:
    status = [sys.executable, "-m", "eventsourcing_kafka", "producer", "status", "--json"]
    done = await anyio.run_process(status, env={**os.environ, **environment})
    return json.loads(done.stdout)["risks"]


async def test_events_are_kept_for_ever(under_test: RelayUnderTest) -> None:
    await under_test.catch_up()

    config = await config_of(under_test, under_test.topics.events)

    assert config["cleanup.policy"] == "delete"
    assert config["retention.ms"] == "-1"
    assert config["retention.bytes"] == "-1"
    assert int(config["max.message.bytes"]) == 2 * 1024 * 1024
    assert config["message.timestamp.type"] == "CreateTime"
    assert int(config["message.timestamp.before.max.ms"]) == 2**63 - 1
    assert int(config["message.timestamp.after.max.ms"]) == 2**63 - 1


async def test_the_relay_makes_topics_with_the_limits_that_are_set_and_leaves_those_that_are_there(
    under_test: RelayUnderTest,
) -> None:
    limits = {"topic_retention_ms": 86_400_000, "topic_retention_bytes": 10_000_000}
    settings = replace(under_test.settings, **limits)
    async with under_test.admin() as admin:
        await prepare_topics(admin, under_test.topics, settings)
        await prepare_topics(admin, under_test.topics, under_test.settings)

    config = await config_of(under_test, under_test.topics.events)
    assert (config["retention.ms"], config["retention.bytes"]) == ("86400000", "10000000")
    assert (await config_of(under_test, under_test.topics.position))["retention.bytes"] == "-1"
    found = await read_topic(under_test.app.name, under_test.settings)
    assert [limit.partition(": ")[0].rpartition(", ")[2] for limit in found.limits] == [
        "retention.ms is 86400000",
        "retention.bytes is 10000000",
    ]


async def test_the_position_is_kept_in_a_compacted_topic_of_one_partition(
    under_test: RelayUnderTest,
) -> None:
    await under_test.catch_up()

    config = await config_of(under_test, under_test.topics.position)

    assert config["cleanup.policy"] == "compact"
    async with under_test.admin() as admin:
        (topic,) = await admin.describe_topics([under_test.topics.position])
    assert len(topic["partitions"]) == 1


async def test_topics_that_are_there_are_left_as_they_are(under_test: RelayUnderTest) -> None:
    async with under_test.admin() as admin:
        assert await prepare_topics(admin, under_test.topics, under_test.settings) == 3
        more = replace(under_test.settings, topic_partitions=5)
        assert await prepare_topics(admin, under_test.topics, more) == 3


async def test_more_partitions_after_events_were_published_are_refused(
    under_test: RelayUnderTest,
) -> None:
    under_test.write()
    await under_test.catch_up()
    async with under_test.admin() as admin:
        await admin.create_partitions({under_test.topics.events: NewPartitions(total_count=4)})

    with ends_with(TopicUnfitError, "has 4 partitions, and had 3 when"):
        await under_test.relay().run()


async def test_other_partitions_than_configured_are_refused_before_the_first_event(
    under_test: RelayUnderTest,
) -> None:
    await under_test.create_topic(under_test.topics.events, 2, {})

    with ends_with(TopicUnfitError, "KAFKA_TOPIC_PARTITIONS=2"):
        await under_test.relay().run()


async def test_the_configured_partitions_do_not_matter_once_events_are_published(
    under_test: RelayUnderTest,
) -> None:
    under_test.write()
    await under_test.catch_up()
    under_test.settings = replace(under_test.settings, topic_partitions=5)
    under_test.write()

    await under_test.catch_up()

    assert len(await under_test.records()) == 2


async def test_an_events_topic_that_is_compacted_is_refused(under_test: RelayUnderTest) -> None:
    await under_test.create_topic(under_test.topics.events, 3, {"cleanup.policy": "compact"})

    with ends_with(TopicUnfitError, r"has cleanup\.policy=compact, and needs delete"):
        await under_test.relay().run()


async def test_a_position_topic_that_is_not_compacted_is_refused(
    under_test: RelayUnderTest,
) -> None:
    await under_test.create_topic(under_test.topics.position, 1, {"cleanup.policy": "delete"})

    with ends_with(TopicUnfitError, r"has cleanup\.policy=delete, and needs compact"):
        await under_test.relay().run()


async def test_a_position_topic_of_several_partitions_is_refused(
    under_test: RelayUnderTest,
) -> None:
    await under_test.create_topic(under_test.topics.position, 2, {"cleanup.policy": "compact"})

    with ends_with(TopicUnfitError, "must have exactly one partition"):
        await under_test.relay().run()


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("setting", "value"), [("retention.ms", "604800000"), ("retention.bytes", "1000000")]
)
async def test_a_topic_that_does_not_keep_its_events_is_warned_of_at_each_start_and_in_the_status(
    under_test: RelayUnderTest,
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    setting: str,
    value: str,
) -> None:
    for_ever = {"retention.ms": "-1", "retention.bytes": "-1"}
    await under_test.create_topic(under_test.topics.events, 3, {**for_ever, setting: value})
    under_test.write()

    for _start in range(2):
        caplog.clear()
        await under_test.catch_up()

        (warning,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert f"{setting} is {value}" in warning.getMessage()
        assert f"--add-config {setting}=-1" in warning.getMessage()
    assert await risks_in_the_status(environment) == [warning.getMessage()]


async def test_topics_as_the_relay_makes_them_have_no_risks(
    under_test: RelayUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    assert await read_risks(under_test.app.name, under_test.settings) == ()

    await under_test.catch_up()

    assert await read_risks(under_test.app.name, under_test.settings) == []
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_a_database_restored_from_a_backup_is_noticed(under_test: RelayUnderTest) -> None:
    under_test.write(3)
    await under_test.catch_up()
    await under_test.execute("TRUNCATE contentmanagement_events RESTART IDENTITY")
    under_test.write(2)

    with ends_with(OtherWriteModelError, "up to position 3, and its database only up to 2"):
        await under_test.relay().run()

    assert "only up to 2" in ((await under_test.status()).problem or "")
    under_test.write(5)  # It grows past what is published, with other events.
    assert "another one at position" in ((await under_test.status()).problem or "")
    assert len(await under_test.records()) == 3


async def test_the_topics_of_an_application_of_another_name_are_refused(
    under_test: RelayUnderTest,
) -> None:
    """They are named in lower case, so its topics are those of one that is written otherwise."""
    under_test.write(3)
    await under_test.catch_up()
    wire = WireFormat("contentManagement", EventTypes(), under_test.app.mapper)
    outbox = outbox_of(under_test.app)

    with ends_with(OtherApplicationError, "has the events of 'ContentManagement', and this is"):
        await Relay(outbox, wire, under_test.settings).run()

    status = await read_status(outbox, wire, under_test.settings)
    assert "Say its name exactly" in (status.problem or "")
    assert len(await under_test.records()) == 3
