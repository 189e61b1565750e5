"""The consumer's whole life, on a real Kafka."""

import gc
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, LiteralString

import anyio
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from psycopg import AsyncConnection

from eventsourcing_kafka.consumer.engine.applying import Applied, Applier, Moved, Outcome
from eventsourcing_kafka.consumer.engine.batch import Span
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.engine.subscription import Pacing
from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.consumer.operations.status import read_status
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.retry import first_error
from tests.pipeline import SECONDS, Pipeline, until

from .interrupting import Interrupted

STRIDE = 3
"""Every so many awaits a life is ended: `test_batch_interrupted` goes one by one."""

HELD_UP: LiteralString = """
    SELECT FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def group(pipeline: Pipeline) -> str:
    return f"{pipeline.settings.group_prefix}fts"


def partition(pipeline: Pipeline, number: int) -> TopicPartition:
    return TopicPartition(Topics.of("ContentManagement", pipeline.settings).events, number)


async def test_a_session_timeout_that_kafka_does_not_take_is_named(
    environment: dict[str, str],
) -> None:
    environment |= {"KAFKA_SESSION_TIMEOUT_MS": "5"}
    async with Pipeline(environment, consumers=0) as pipeline:
        with pytest.raises(ExceptionGroup) as raised:
            await pipeline.consumer().run()

    error = first_error(raised.value)
    assert isinstance(error, SettingsError)
    assert "KAFKA_SESSION_TIMEOUT_MS=5" in str(error)


async def committed(pipeline: Pipeline) -> dict[int, OffsetAndMetadata]:
    async with started(AIOKafkaAdminClient(**pipeline.settings.client())) as admin:
        offsets = await admin.list_consumer_group_offsets(group(pipeline))
    return {partition.partition: offset for partition, offset in offsets.items()}


async def commit(pipeline: Pipeline, offset: OffsetAndMetadata) -> None:
    """Set all partitions of the group, which has no members, to an offset."""
    kafka = AIOKafkaConsumer(
        **pipeline.settings.client(), group_id=group(pipeline), enable_auto_commit=False
    )
    async with started(kafka):
        every = [partition(pipeline, number) for number in range(8)]
        kafka.assign(every)
        await kafka.commit(dict.fromkeys(every, offset))


async def is_mirrored(pipeline: Pipeline) -> bool:
    trackings = (await pipeline.trackings()).values()
    expected = {
        tracking.partition: OffsetAndMetadata(tracking.offset, f"position={tracking.position}")
        for tracking in trackings
    }
    return await committed(pipeline) == expected


async def ended(consumer: Consumer) -> None:
    """Run a consumer until it fails, with the error that it names first."""
    try:
        with anyio.fail_after(SECONDS):
            await consumer.run()
    except Exception as error:
        raise first_error(error) from error


async def assert_right(pipeline: Pipeline) -> None:
    """Wait until the view has all that the wiki has, and compare."""
    await pipeline.applied()
    assert await pipeline.pages() == await pipeline.expected_pages()
    assert not any(row.parked or row.stopped for row in await pipeline.progress())


# aiokafka leaves a connection open when it is cancelled while it connects.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_consumer_ended_at_any_await_of_its_life_loses_and_doubles_nothing(
    environment: dict[str, str],
) -> None:
    # A member that could not say goodbye is to be missed soon.
    environment |= {"KAFKA_SESSION_TIMEOUT_MS": "900"}
    async with Pipeline(environment, consumers=0) as pipeline:
        await pipeline.write("every")
        await pipeline.published()
        for n in count(1, STRIDE):
            await pipeline.write(f"page{n}", "one\n", "two\n")
            await pipeline.do(pipeline.wiki.update_body, "every", f"{n}\n")
            with anyio.CancelScope() as scope:
                life = Interrupted(pipeline.consumer().run(), n, scope.cancel)
                async with anyio.create_task_group() as watching:
                    watching.start_soon(_cancel_when_applied, pipeline, scope)
                    await life
            if not life.happened:
                break
        assert n > 5 * STRIDE
        pipeline.start_consumer()
        await assert_right(pipeline)
    gc.collect()


async def _cancel_when_applied(pipeline: Pipeline, scope: anyio.CancelScope) -> None:
    await pipeline.applied()
    scope.cancel()


class ReplayedMeanwhile(Applier):
    """Before the first part of a batch is applied, its partitions are replayed.

    It is held in hand until another one is, too.
    """

    def __init__(self, store: ViewStore) -> None:
        super().__init__(store)
        self.backends: list[int] = []
        self.outcomes: list[type] = []
        self._replayed = store
        self._second = anyio.Event()

    async def apply(
        self, connection: AsyncConnection[Any], batch: Sequence[Span], seen: Mapping[int, Tracking]
    ) -> Outcome:
        self.backends.append(connection.info.backend_pid)
        if len(self.backends) == 1:
            async with self._replayed.connected() as other:
                await self._replayed.replay(other, [span.partition for span in batch])
            with anyio.fail_after(SECONDS):
                await self._second.wait()
        self._second.set()
        outcome = await super().apply(connection, batch, seen)
        self.outcomes.append(type(outcome))
        return outcome


async def test_two_connections_share_a_batch_and_of_a_part_that_was_moved_the_other_stays(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | {"KAFKA_TOPIC_PARTITIONS": "2"}) as pipeline:
        slugs = [f"page{number}" for number in range(12)]
        for slug in slugs:
            await pipeline.write(slug, "one\n", "two\n")
        await pipeline.settled()
        await pipeline.consumers[0].stop()
        for slug in slugs:
            await pipeline.do(pipeline.wiki.update_slug, slug, f"new-{slug}")
        await pipeline.published()

        applier = ReplayedMeanwhile(pipeline.store)
        pipeline.start_consumer(pipeline.consumer(applier=applier, worth_sharing=2))
        await assert_right(pipeline)

        assert len(set(applier.backends[:2])) == 2
        assert set(applier.outcomes[:2]) == {Applied, Moved}


async def test_a_consumer_stopped_within_a_batch_rolls_it_back_and_ends_in_peace(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment) as pipeline:
        await pipeline.write("page", "one\n")
        await pipeline.settled()
        before = await pipeline.pages()
        async with pipeline.store.connected() as connection, connection.transaction():
            await connection.execute(pipeline.store.sql("SELECT FROM {schema}.tracking FOR UPDATE"))

            async def is_held_up() -> bool:
                cursor = await connection.execute(HELD_UP)
                return cursor.rowcount > 0

            await pipeline.do(pipeline.wiki.update_body, "page", "two\n")
            await until(is_held_up)
            await pipeline.consumers[0].stop()
        assert await pipeline.pages() == before
        pipeline.start_consumer()
        await assert_right(pipeline)


async def test_the_view_is_right_while_consumers_join_and_leave(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment) as pipeline:
        await pipeline.write("shared")
        for number in range(6):
            if number % 2:
                await pipeline.consumers.pop(0).stop()
            else:
                pipeline.start_consumer()
            await pipeline.write(f"page{number}", *(f"{line}\n" for line in range(10)))
            await pipeline.do(pipeline.wiki.update_body, "shared", f"{number}\n")
        await assert_right(pipeline)


async def test_two_consumers_share_the_partitions(environment: dict[str, str]) -> None:
    async with Pipeline(environment, consumers=2) as pipeline:

        async def is_shared() -> bool:
            async with started(AIOKafkaAdminClient(**pipeline.settings.client())) as admin:
                (described,) = await admin.describe_consumer_groups([group(pipeline)])
            return len(described.groups[0][5]) == 2

        await until(is_shared)
        for number in range(10):
            await pipeline.write(f"page{number}", "text")
        await assert_right(pipeline)


async def test_what_is_applied_takes_the_marker_of_its_transaction_along(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment) as pipeline:
        await pipeline.write("roses", "red\n")
        await pipeline.settled()
        await pipeline.consumers[0].stop()
        patient = Pacing(poll_ms=1000 * int(SECONDS))
        pipeline.start_consumer(pipeline.consumer(pacing=patient))
        for colour in ("white\n", "yellow\n"):
            await pipeline.do(pipeline.wiki.update_body, "roses", colour)
            with anyio.fail_after(SECONDS / 3):
                await pipeline.settled()


async def abort(pipeline: Pipeline, quiet: TopicPartition) -> None:
    """Have a transaction leave nothing in a partition but offsets."""
    kafka = AIOKafkaProducer(**pipeline.settings.client(), transactional_id=group(pipeline))
    async with started(kafka):
        await kafka.begin_transaction()
        await kafka.send_and_wait(quiet.topic, b"never", partition=quiet.partition)
        await kafka.abort_transaction()


async def test_a_quiet_partition_comes_to_its_end_while_another_one_never_rests(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment) as pipeline:
        page_id = await pipeline.write("roses", "red\n")
        await pipeline.settled()
        quiet = partition(pipeline, (partition_of(str(page_id).encode(), 8) + 1) % 8)

        async def never_rest() -> None:
            for number in count():
                position = await pipeline.do(pipeline.wiki.update_body, "roses", f"{number}\n")
                await pipeline.store.wait(position, page_id)

        async def is_at_its_end() -> bool:
            ends = await pipeline.ends()
            return (await pipeline.trackings())[quiet.partition].offset == ends[quiet.partition]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(never_rest)
            await abort(pipeline, quiet)
            assert not await is_at_its_end()
            await until(is_at_its_end)
            tasks.cancel_scope.cancel()


async def test_a_consumer_that_is_there_before_the_topic_waits_for_it(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment, relay=False) as pipeline:
        await pipeline.write("page", "text")
        with pytest.raises(TimeoutError):
            await pipeline.store.wait(1, "anything", seconds=1)
        pipeline.start_relay()
        await assert_right(pipeline)


async def test_a_tracking_set_back_with_its_rows_removed_has_the_consumer_start_over(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment) as pipeline:
        await pipeline.write("page", "one\n", "two\n")
        await pipeline.applied()
        async with pipeline.store.connected() as connection, connection.transaction():
            for statement in (
                "UPDATE {schema}.tracking SET position = 0, next_offset = 0",
                "TRUNCATE {schema}.pages",
            ):
                await connection.execute(pipeline.store.sql(statement))
        await assert_right(pipeline)
        await pipeline.do(pipeline.wiki.update_body, "page", "three\n")
        await assert_right(pipeline)


async def test_offsets_set_back_in_the_tracking_do_not_apply_events_twice(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment) as pipeline:
        await pipeline.write("page", "one\n", "two\n")
        await pipeline.settled()
        before = await pipeline.trackings()
        async with pipeline.store.connected() as connection:
            await connection.execute(
                pipeline.store.sql("UPDATE {schema}.tracking SET next_offset = 0")
            )
        await pipeline.settled()
        assert await pipeline.trackings() == before
        await assert_right(pipeline)


async def test_the_group_s_offsets_mirror_the_tracking(environment: dict[str, str]) -> None:
    async with Pipeline(environment) as pipeline:
        await pipeline.write("page", "text")
        await pipeline.settled()
        await until(lambda: is_mirrored(pipeline))
        assert {row.gap for row in await read_status(pipeline.store, pipeline.settings)} == {0}


@pytest.mark.parametrize("wrong", [0, 1_000_000])
async def test_what_the_group_s_offsets_say_does_not_matter(
    environment: dict[str, str], wrong: int
) -> None:
    async with Pipeline(environment) as pipeline:
        await pipeline.write("page", "one\n", "two\n")
        await pipeline.applied()
        await pipeline.consumers[0].stop()
        await commit(pipeline, OffsetAndMetadata(wrong, "position=1"))
        await pipeline.do(pipeline.wiki.update_body, "page", "three\n")
        pipeline.start_consumer()
        await assert_right(pipeline)
        await pipeline.settled()
        await until(lambda: is_mirrored(pipeline))


async def test_the_status_of_a_view_that_has_not_begun_is_the_whole_topic(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment, consumers=0) as pipeline:
        await pipeline.write("page", "text")
        await pipeline.published()
        rows = await read_status(pipeline.store, pipeline.settings)
        assert {row.partition: row.gap for row in rows} == await pipeline.ends()
        assert all(row.lag_seconds > 0 for row in rows if row.gap)
