"""Topics that do not go on from what a view has applied: found elsewhere, waited for, or stopped.

Each view here counts what it applies: an event too many or too few would show.
"""

import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.consumer.engine.lookout import BROKEN
from eventsourcing_kafka.consumer.engine.subscription import Pacing
from eventsourcing_kafka.consumer.operations.filling import GenerationStoppedError
from eventsourcing_kafka.consumer.operations.health import ViewHealth
from eventsourcing_kafka.consumer.operations.rebuild import Rebuild
from eventsourcing_kafka.consumer.operations.replay import replay_view
from eventsourcing_kafka.consumer.operations.status import PartitionStatus, read_status
from eventsourcing_kafka.producer.kafka.clients import groupless_consumer, started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from tests.activity.counting import expected_activity, found_activity
from tests.chaos.damage import delete_topics
from tests.consumer.test_command_line import run_all
from tests.pipeline import Pipeline, until

from .counted import activity, assert_counted_once, write
from .operator import Operator

TWO = {"KAFKA_TOPIC_PARTITIONS": "2"}
OFTEN = Pacing(check_seconds=0.2, metadata_ms=500)


def start(pipeline: Pipeline) -> None:
    pipeline.start_consumer(pipeline.consumer(pacing=OFTEN))


def topics_of(pipeline: Pipeline) -> Sequence[str]:
    topics = Topics.of("ContentManagement", pipeline.settings)
    return [topics.events, topics.position]


async def stopped(pipeline: Pipeline) -> dict[int, str]:
    return {row.tracking.partition: row.stopped for row in await pipeline.progress() if row.stopped}


async def has_stopped(pipeline: Pipeline) -> bool:
    return bool(await stopped(pipeline))


@asynccontextmanager
async def applied(environment: dict[str, str]) -> AsyncIterator[Pipeline]:
    """Have a view apply some pages, and then all consumers stopped."""
    async with activity(environment) as pipeline:
        start(pipeline)
        await write(pipeline, "early", pages=4, edits=2)
        await assert_counted_once(pipeline)
        await stop(pipeline)
        yield pipeline


async def stop(pipeline: Pipeline) -> None:
    while pipeline.consumers:
        await pipeline.consumers.pop().stop()


async def records(pipeline: Pipeline) -> list[ConsumerRecord]:
    """Return all committed records, in their partitions' order."""
    found = []
    ends = await pipeline.ends()
    async with groupless_consumer(pipeline.settings) as kafka:
        every = [TopicPartition(topics_of(pipeline)[0], number) for number in ends]
        kafka.assign(every)
        await kafka.seek_to_beginning(*every)
        for partition in every:
            while await kafka.position(partition) < ends[partition.partition]:
                fetched = await kafka.getmany(partition, timeout_ms=50)
                found += fetched.get(partition, ())
    return found


async def append(pipeline: Pipeline, record: ConsumerRecord, **changed: bytes) -> None:
    """Append a copy of a record to its partition, with some headers changed."""
    headers = [(name, changed.get(name, value)) for name, value in record.headers]
    async with started(AIOKafkaProducer(**pipeline.settings.client())) as producer:
        await producer.send_and_wait(
            record.topic, record.value, record.key, partition=record.partition, headers=headers
        )


async def delete_all(pipeline: Pipeline, partition: int) -> None:
    """Delete all records of a partition, as retention does."""
    at = TopicPartition(topics_of(pipeline)[0], partition)
    end = (await pipeline.ends())[partition]
    async with started(AIOKafkaAdminClient(**pipeline.settings.client())) as admin:
        await admin.delete_records({at: RecordsToDelete(end)})


def position_of(record: ConsumerRecord) -> int:
    return int(dict(record.headers)["ce_position"])


def link_of(record: ConsumerRecord) -> str:
    headers = dict(record.headers)
    return f"{headers['ce_position'].decode()}:{headers['ce_identity'].decode()}"


async def status_of(pipeline: Pipeline) -> dict[int, PartitionStatus]:
    rows = await read_status(pipeline.store, pipeline.settings)
    return {row.partition: row for row in rows}


async def assert_right(pipeline: Pipeline) -> None:
    """Wait until all is applied, and see that nothing is missing or there twice."""
    await pipeline.settled()
    expected = await pipeline.do(expected_activity, pipeline.wiki)
    assert await found_activity(pipeline.store) == expected
    assert not any(row.parked or row.stopped for row in await pipeline.progress())


async def test_a_topic_behind_the_view_is_waited_for_and_its_gap_is_not_known(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with applied(environment | TWO) as pipeline:
        await pipeline.relay.stop()
        await delete_topics(environment["KAFKA_BOOTSTRAP_SERVERS"], topics_of(pipeline))
        await make_topic(pipeline)
        start(pipeline)
        await until(lambda: says(caplog, "the topic is behind the view"))

        assert {row.gap for row in (await status_of(pipeline)).values()} == {None}
        assert await stopped(pipeline) == {}
        pipeline.start_relay()
        await write(pipeline, "late", pages=2, edits=2)
        await assert_right(pipeline)
        await until(lambda: is_known(pipeline))
        await until(lambda: says(caplog, "going on from there"))
    assert caplog.text.count("the topic is behind the view") == 2


async def make_topic(pipeline: Pipeline) -> None:
    """Make an empty topic, as the relay would."""
    events, partitions = topics_of(pipeline)[0], pipeline.settings.topic_partitions
    async with started(AIOKafkaAdminClient(**pipeline.settings.client())) as admin:
        await admin.create_topics([NewTopic(events, partitions, 1)])


async def says(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return words in caplog.text


async def is_known(pipeline: Pipeline) -> bool:
    return {row.gap for row in (await status_of(pipeline)).values()} == {0}


async def test_a_topic_that_is_deleted_under_all_who_run_is_published_again_and_gone_on_with(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with activity(environment | TWO, relay=False) as pipeline:
        pipeline.start_relay(check=0.2, grace=0.1)
        start(pipeline)
        await write(pipeline, "early", pages=4, edits=2)
        await assert_right(pipeline)
        await delete_topics(environment["KAFKA_BOOTSTRAP_SERVERS"], topics_of(pipeline)[:1])
        await write(pipeline, "late", pages=2, edits=2)
        await assert_right(pipeline)
        await until(lambda: is_known(pipeline))
    assert BROKEN not in caplog.text


async def test_another_history_stops_a_partition_that_has_some_and_says_why(
    environment: dict[str, str], database: Callable[[str], str]
) -> None:
    other = {"CONTENTMANAGEMENT_POSTGRES_DBNAME": database("other")}
    async with activity(environment | TWO) as pipeline:
        start(pipeline)
        await pipeline.write("only-one")
        await pipeline.settled()
        await stop(pipeline)
        await pipeline.relay.stop()
        before = await pipeline.trackings()
    await delete_topics(environment["KAFKA_BOOTSTRAP_SERVERS"], topics_of(pipeline))

    async with activity(environment | TWO | other) as pipeline:
        await write(pipeline, "other", pages=5, edits=2)
        await pipeline.published()
        start(pipeline)
        touched = {number for number, seen in before.items() if seen.position}
        await until(lambda: have_stopped(pipeline, touched))

        for number, why in (await stopped(pipeline)).items():
            seen = before[number]
            # What lies below could be older than the last one.
            found = next(
                each
                for each in await records(pipeline)
                if each.partition == number and position_of(each) >= seen.position
            )
            assert why.startswith(f"{BROKEN} at offset {found.offset} of {found.topic}, partition")
            assert f"expected the record after {seen.link.text}, and found {link_of(found)}," in why
            assert "is nowhere in the partition, which has the offsets 0 to" in why
            assert "consumer rebuild activity" in why
        for number in {0, 1} - touched:
            await until(partial(is_applied, pipeline, number))


async def have_stopped(pipeline: Pipeline, partitions: Collection[int]) -> bool:
    return (await stopped(pipeline)).keys() == partitions


async def test_what_is_deleted_before_it_is_applied_stops_its_partition_and_no_other(
    environment: dict[str, str],
) -> None:
    async with applied(environment | TWO) as pipeline:
        await write(pipeline, "deleted", pages=4, edits=2)
        await pipeline.published()
        await delete_all(pipeline, 0)
        start(pipeline)
        await until(lambda: is_applied(pipeline, 1))
        # Whether anything is lacking, nobody can tell before something comes.
        assert (await status_of(pipeline))[0].gap is None
        assert await stopped(pipeline) == {}

        await write(pipeline, "late", pages=4, edits=2)
        await until(lambda: have_stopped(pipeline, {0}))
        await until(lambda: is_applied(pipeline, 1))
        rows = await status_of(pipeline)
        assert rows[0].stopped
        assert "is nowhere in the partition" in rows[0].stopped
        assert rows[1].stopped is None
        health = ViewHealth(pipeline.consumer(), pipeline.settings)
        report = await health.report()
        assert not report.healthy
        assert f"partition 0 has stopped: {rows[0].stopped}" in report.why
        (shown,) = await run_all(pipeline.environment, ("consumer", "status", "activity", "--json"))
        assert shown.returncode == 1
        assert json.loads(shown.stdout)[0]["stopped"] == rows[0].stopped
        with pytest.RaisesGroup(GenerationStoppedError, flatten_subgroups=True):
            await Rebuild(pipeline.store, pipeline.settings).run(lambda _: None)


async def is_applied(pipeline: Pipeline, partition: int) -> bool:
    seen = (await pipeline.trackings())[partition]
    return seen.offset == (await pipeline.ends())[partition]


async def test_a_stopped_partition_goes_on_without_what_is_missing_if_an_operator_says_so(
    environment: dict[str, str], kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    async with applied(environment | {"KAFKA_TOPIC_PARTITIONS": "1"}) as pipeline:
        last = (await pipeline.trackings())[0].link
        await write(pipeline, "deleted", pages=2, edits=2)
        await pipeline.published()
        missing = (await records(pipeline))[-1]
        await delete_all(pipeline, 0)
        await write(pipeline, "late", pages=2, edits=2)
        start(pipeline)
        await until(lambda: has_stopped(pipeline))
        why = (await stopped(pipeline))[0]
        at = (await pipeline.trackings())[0].offset
        assert f"--to-offset {at} --execute" in why

        operator = Operator(kafka, pipeline)
        await operator.commit(at)
        start(pipeline)
        await pipeline.settled()
        assert await stopped(pipeline) == {}
        async with pipeline.store.connected() as connection:
            (skip,) = await pipeline.store.parking.dropped(connection)
        assert skip.skipped_after == last.text
        assert skip.skipped_to == link_of(missing)
        assert (skip.first_position, skip.last_position) == (
            last.position + 1,
            position_of(missing),
        )
        await stop(pipeline)
        start(pipeline)
        await write(pipeline, "later", pages=2, edits=2)
        await pipeline.settled()
        assert await stopped(pipeline) == {}
        assert caplog.text.count("skipped from") == 1


async def test_what_a_stranger_has_written_is_passed_over_if_an_operator_says_so(
    environment: dict[str, str], kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    async with applied(environment | {"KAFKA_TOPIC_PARTITIONS": "1"}) as pipeline:
        last = (await records(pipeline))[-1]
        strange = {"ce_identity": b"another1another1", "ce_predecessor": b"9998:another2another2"}
        await append(pipeline, last, ce_position=b"9999", **strange)
        await write(pipeline, "late", pages=2, edits=2)
        await pipeline.published()
        start(pipeline)
        await until(lambda: has_stopped(pipeline))
        why = (await stopped(pipeline))[0]
        at = (await pipeline.trackings())[0].offset
        assert "pass it over: stop its consumers, kafka-consumer-groups --group " in why
        assert f"--to-offset {at + 1} --execute" in why

        await Operator(kafka, pipeline).commit(at + 1)
        start(pipeline)
        await pipeline.settled()

        assert await stopped(pipeline) == {}
        assert "passed over what does not follow" in caplog.text
        async with pipeline.store.connected() as connection:
            assert await pipeline.store.parking.dropped(connection) == []


async def test_foreign_records_are_parked_and_copies_are_passed_over(
    environment: dict[str, str],
) -> None:
    async with applied(environment | TWO) as pipeline:
        first, *_, last = await records(pipeline)
        await append(pipeline, first)
        await append(pipeline, last)
        await append(pipeline, last, ce_source=b"/Elsewhere", ce_position=b"9999")
        await append(pipeline, last, ce_identity=b"none", ce_position=b"9999")
        elsewhere = replace(last, partition=1 - last.partition)
        await append(pipeline, elsewhere, ce_position=b"9999")
        start(pipeline)
        await write(pipeline, "late", pages=4, edits=2)
        await pipeline.settled()
        assert await stopped(pipeline) == {}
        async with pipeline.store.connected() as connection:
            parked = await pipeline.store.parking.select(connection)
        assert [(event.topic, event.position) for event in parked] == [(first.topic, None)] * 3


async def test_another_event_at_the_position_that_is_applied_last_stops_the_partition(
    environment: dict[str, str],
) -> None:
    async with applied(environment | {"KAFKA_TOPIC_PARTITIONS": "1"}) as pipeline:
        last = (await records(pipeline))[-1]
        await append(pipeline, last, ce_identity=b"another1another1")
        start(pipeline)
        await until(lambda: has_stopped(pipeline))
        (why,) = (await stopped(pipeline)).values()
        seen = (await pipeline.trackings())[0]
        assert f"found {seen.position}:another1another1" in why
        assert f"is in the partition, at offset {last.offset}" in why


async def test_a_partition_that_has_stopped_is_looked_at_again_at_the_next_start(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """A view is started with the topics of another wiki, by mistake."""
    moved = {**environment, "KAFKA_TOPIC_PREFIX": f"x.{environment['KAFKA_TOPIC_PREFIX']}"}
    async with applied(environment | {"KAFKA_TOPIC_PARTITIONS": "1"}) as pipeline:
        ours = (await records(pipeline))[-1]
    mistaken = moved | {"KAFKA_TOPIC_PARTITIONS": "1"}
    async with activity(mistaken, relay=False) as pipeline:
        await make_topic(pipeline)
        stranger = ConsumerRecord(
            topics_of(pipeline)[0], 0, 0, 0, 0, ours.key, ours.value, 0, 0, 0, ours.headers
        )
        await append(pipeline, stranger, ce_position=b"9999")
        start(pipeline)
        await until(lambda: has_stopped(pipeline))
        await stop(pipeline)

    async with activity(environment | {"KAFKA_TOPIC_PARTITIONS": "1"}) as pipeline:
        start(pipeline)
        await write(pipeline, "late", pages=2, edits=2)
        await assert_right(pipeline)


async def test_what_is_made_anew_can_be_replayed_and_rebuilt(environment: dict[str, str]) -> None:
    async with applied(environment | TWO) as pipeline:
        await pipeline.relay.stop()
        await delete_topics(environment["KAFKA_BOOTSTRAP_SERVERS"], topics_of(pipeline))
        pipeline.start_relay()
        start(pipeline)
        await assert_right(pipeline)
        await replay_view(pipeline.store)
        await assert_right(pipeline)
        await Rebuild(pipeline.store, pipeline.settings).run(lambda _: None)
        await assert_right(pipeline)


async def test_a_view_whose_topic_is_gone_has_stopped_by_its_status(
    environment: dict[str, str],
) -> None:
    async with applied(environment) as pipeline:
        tracked = await pipeline.trackings()
        elsewhere = KafkaSettings.from_env(
            {**pipeline.environment, "KAFKA_TOPIC_PREFIX": "of-nobody."}
        )

        rows = await read_status(pipeline.store, elsewhere)

        assert {row.partition: row.position for row in rows} == {
            number: tracking.position for number, tracking in tracked.items()
        }
        stopped = [row for row in rows if row.position]
        assert stopped
        assert all(row.gap is None for row in stopped)
        assert all("Kafka has no topic of-nobody." in (row.stopped or "") for row in stopped)
