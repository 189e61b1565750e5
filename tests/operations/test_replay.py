"""Applying again, and skipping: by our own command, and by Kafka's own tool."""

from typing import Any

import pytest
from aiokafka import OffsetAndMetadata

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.consumer.engine.parking import Skip
from eventsourcing_kafka.consumer.engine.store import ShapeChangedError, ViewMissingError, ViewStore
from eventsourcing_kafka.consumer.operations.replay import (
    UnknownPartitionError,
    applied_records,
    replay_view,
)
from eventsourcing_kafka.consumer.operations.status import read_status
from eventsourcing_kafka.consumer.views.activity import VIEW
from tests.activity.counting import expected_activity, found_activity
from tests.pipeline import Pipeline, WithoutKafka, page_id, until

from .counted import Assignments, activity, assert_counted_once, write
from .operator import Operator
from .wiki import Wiki

TWO = {"KAFKA_TOPIC_PARTITIONS": "2", "KAFKA_SESSION_TIMEOUT_MS": "1500"}
REPLAYED = "replayed, as its group was set back"
SKIPPED = "skipped to offset"


async def records(pipeline: Pipeline) -> dict[int, int]:
    return {row.tracking.partition: row.records for row in await pipeline.progress()}


@pytest.mark.parametrize("partitions", [None, [1]])
async def test_a_replay_while_consumers_run_is_found_out_by_the_guard(
    environment: dict[str, str],
    partitions: list[int] | None,
    assignments: Assignments,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "eventsourcing_kafka.consumer")
    async with activity(environment | TWO) as pipeline:
        pipeline.start_consumer()
        pipeline.start_consumer()
        await assignments.share(1, 1)
        await write(pipeline, "page", pages=4)
        await pipeline.settled()
        before = await records(pipeline)
        expected = {n: before[n] for n in partitions or before}
        assert await applied_records(pipeline.store, partitions) == expected

        await replay_view(pipeline.store, partitions)
        await until(lambda: has_said(caplog, "the tracking was moved"))

        await assert_counted_once(pipeline)
        assert await records(pipeline) == before


async def has_said(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return words in caplog.text


async def test_a_replay_while_writers_and_consumers_are_at_work_counts_each_event_once(
    environment: dict[str, str],
) -> None:
    async with activity(environment | TWO) as pipeline:
        pipeline.start_consumer(pipeline.consumer(limit=5))
        pipeline.start_consumer(pipeline.consumer(limit=7))
        await write(pipeline, "before", pages=3)
        await pipeline.settled()
        for number in range(4):
            await replay_view(pipeline.store, [number % 2] if number else None)
            await write(pipeline, f"while{number}", pages=1)
        await assert_counted_once(pipeline)


async def test_a_replay_while_no_consumer_runs_is_there_when_one_starts(
    environment: dict[str, str],
) -> None:
    async with activity(environment | TWO) as pipeline:
        consumer = pipeline.start_consumer()
        await write(pipeline, "page", pages=3)
        await pipeline.settled()
        before = await records(pipeline)
        await consumer.stop()

        await replay_view(pipeline.store, [1])
        assert await records(pipeline) == before | {1: 0}

        pipeline.start_consumer()
        await assert_counted_once(pipeline)
        assert await records(pipeline) == before


async def test_a_replay_of_what_is_not_there_says_what_is(schemas: dict[str, str]) -> None:
    shortcut = WithoutKafka(schemas, VIEW)
    for replaying in (replay_view(shortcut.store), applied_records(shortcut.store)):
        with pytest.raises(ViewMissingError, match="consumer run activity"):
            await replaying
    async with shortcut:
        with pytest.raises(UnknownPartitionError, match="has no partition 7: it has 0 to 1"):
            await applied_records(shortcut.store, [1, 7])
    async with WithoutKafka(schemas):
        german = WithoutKafka(schemas | {"FTS_LANGUAGE": "german"}).store
        with pytest.raises(ShapeChangedError):
            await replay_view(german)


class Killed(Exception):  # noqa: N818 - it is what happens to the process
    """Nothing in the code expects it."""


async def dropped(store: ViewStore) -> list[tuple[int, int, int, str]]:
    async with store.connected() as connection:
        rows = await store.parking.dropped(connection)
    return [(row.partition, row.first_offset, row.last_offset, row.dropped_by) for row in rows]


async def has_dropped_some(store: ViewStore) -> bool:
    return bool(await dropped(store))


async def test_what_other_clients_commit_for_the_beginning_is_a_replay_and_for_the_end_a_skip(
    environment: dict[str, str], kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    async with activity(environment | TWO | {"KAFKA_TOPIC_PARTITIONS": "1"}) as pipeline:
        operator = Operator(kafka, pipeline)
        pipeline.start_consumer()
        await write(pipeline, "page", pages=2)
        await pipeline.settled()
        before = await records(pipeline)

        await operator.commit(-2)
        pipeline.start_consumer()
        await until(lambda: has_said(caplog, REPLAYED))
        await assert_counted_once(pipeline)
        assert await records(pipeline) == before

        await pipeline.settled()
        await operator.stop()
        await write(pipeline, "later", pages=1)
        await pipeline.published()
        await operator.commit(-1)
        pipeline.start_consumer()
        await until(lambda: has_said(caplog, SKIPPED))
        await until(lambda: has_dropped_some(pipeline.store))


@pytest.mark.usefixtures("programs")
async def test_an_offset_set_back_with_kafka_s_tool_is_one_replay_of_the_partition(
    environment: dict[str, str], kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    async with activity(environment | TWO) as pipeline:
        operator = Operator(kafka, pipeline)
        pipeline.start_consumer()
        await write(pipeline, "page", pages=4)
        await assert_counted_once(pipeline)

        replays = 0
        for to, partition, more in (
            (["to-earliest"], None, 2),
            (["to-current"], None, 0),
            (["shift-by", "-3"], 1, 1),
            (["to-offset", "5"], 0, 1),
            (["to-datetime", "2026-01-01T00:00:00.000"], None, 2),
        ):
            await operator.reset(*to, partition=partition)
            pipeline.start_consumer()
            await write(pipeline, f"after-{to[0]}", pages=1)
            await assert_counted_once(pipeline)
            replays += more
            assert caplog.text.count(REPLAYED) == replays, to
        assert SKIPPED not in caplog.text


@pytest.mark.usefixtures("programs")
async def test_an_offset_set_forward_with_kafka_s_tool_is_a_skip_that_is_recorded_for_ever(
    environment: dict[str, str], kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    async with activity(environment | {"KAFKA_TOPIC_PARTITIONS": "1"}) as pipeline:
        operator = Operator(kafka, pipeline)
        pipeline.start_consumer()
        await write(pipeline, "before", pages=2)
        await assert_counted_once(pipeline)
        (first,) = (await pipeline.ends()).values()
        await operator.stop()
        await write(pipeline, "skipped", pages=2)
        await pipeline.published()
        (end,) = (await pipeline.ends()).values()

        await operator.reset("to-latest")
        for name in ("after", "later"):
            pipeline.start_consumer()
            await write(pipeline, name, pages=2)
            await pipeline.settled()
            await operator.stop()
        await replay_view(pipeline.store)
        pipeline.start_consumer()
        await pipeline.settled()

        expected = await pipeline.do(expected_activity, pipeline.wiki)
        skipped = {await pipeline.do(page_id, pipeline.wiki, f"skipped{n}") for n in range(2)}
        found = await found_activity(pipeline.store)
        assert set(expected.pages) - set(found.pages) == skipped
        assert all(found.pages[page] == expected.pages[page] for page in found.pages)
        assert await dropped(pipeline.store) == [(0, first, end - 1, "kafka-consumer-groups")]
        (row,) = await read_status(pipeline.store, pipeline.settings)
        assert (row.dropped, row.gap, row.parked) == (end - first, 0, 0)
        assert caplog.text.count(SKIPPED) == 1


@pytest.mark.usefixtures("programs")
async def test_a_group_that_is_gone_means_nothing(
    environment: dict[str, str], kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    async with activity(environment | TWO) as pipeline:
        operator = Operator(kafka, pipeline)
        pipeline.start_consumer()
        await write(pipeline, "page", pages=2)
        await assert_counted_once(pipeline)
        await operator.forget_group()
        pipeline.start_consumer()
        await write(pipeline, "late", pages=2)
        await assert_counted_once(pipeline)
        await until(operator.is_mirrored)
    assert REPLAYED not in caplog.text
    assert SKIPPED not in caplog.text


@pytest.mark.parametrize("offset", [3, 1_000_000])
async def test_a_commit_of_our_own_is_never_taken_for_an_operator_s(
    environment: dict[str, str], kafka: Kafka, offset: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with activity(environment | {"KAFKA_TOPIC_PARTITIONS": "1"}) as pipeline:
        operator = Operator(kafka, pipeline)
        pipeline.start_consumer()
        await write(pipeline, "page", pages=1)
        await assert_counted_once(pipeline)
        await operator.commit(offset, "position=3")
        pipeline.start_consumer()
        await until(operator.is_mirrored)
        await assert_counted_once(pipeline)
    assert REPLAYED not in caplog.text
    assert SKIPPED not in caplog.text


async def test_a_consumer_killed_right_after_a_replay_does_not_take_it_for_a_skip_next_time(
    environment: dict[str, str], kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = ViewStore.replay

    async def replay_and_die(*args: Any) -> None:
        await replay(*args)
        raise Killed

    async with activity(environment | {"KAFKA_TOPIC_PARTITIONS": "1"}) as pipeline:
        operator = Operator(kafka, pipeline)
        pipeline.start_consumer()
        await write(pipeline, "page", pages=2)
        await assert_counted_once(pipeline)
        await operator.commit(20)
        with monkeypatch.context() as deadly, pytest.RaisesGroup(Killed, flatten_subgroups=True):
            deadly.setattr(ViewStore, "replay", replay_and_die)
            await pipeline.consumer().run()
        assert await operator.committed() == {0: OffsetAndMetadata(20, "replay")}
        assert [seen.offset for seen in (await pipeline.trackings()).values()] == [0]
        pipeline.start_consumer()
        await assert_counted_once(pipeline)
        assert await dropped(pipeline.store) == []


async def test_what_is_skipped_is_passed_over_and_what_comes_after_it_follows(
    schemas: dict[str, str],
) -> None:
    async with Wiki(schemas) as wiki:
        partition = wiki.partition(wiki.sick_id)
        seen = await wiki.seen()
        wiki.go_on()
        wiki.relay()
        offset = wiki.offered()[partition]
        skip = Skip(seen[partition], "topic", offset, wiki.link(partition, offset - 1))
        for _ in range(2):
            await wiki.store.skip(wiki.connection, skip)
        wiki.wiki.update_title(wiki.sick, "New")

        await wiki.catch_up()

        page = await wiki.page(wiki.sick)
        assert (page.version, page.title, page.body) == (5, "New", "one\n")
        assert await wiki.parked() == []
        assert await dropped(wiki.store) == [
            (partition, seen[partition].offset, skip.offset - 1, "kafka-consumer-groups")
        ]
        assert (await wiki.page(wiki.far)).body == "three\n"
