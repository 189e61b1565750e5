"""Owners of partitions, and of the turn to publish, that come, go, and stand still."""

import signal
from collections.abc import Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import NotCoordinatorForGroupError

from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, Span
from eventsourcing_kafka.consumer.engine.store import group_of
from eventsourcing_kafka.consumer.engine.subscription import Pacing, Subscription
from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.consumer.views.activity.view import ActivityUnitOfWork
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.groups import owners_of
from eventsourcing_kafka.producer.kafka.topics import Topics
from tests.pipeline import RELAY, SECONDS, until

from .child import child, is_so
from .counted import (
    Assignments,
    activity,
    assert_counted_once,
    ends_who_blocks,
    is_waited_for,
    write,
)

SHORT = {"KAFKA_SESSION_TIMEOUT_MS": "1000", "KAFKA_TOPIC_PARTITIONS": "3"}
LONG = {"KAFKA_SESSION_TIMEOUT_MS": "60000", "KAFKA_TOPIC_PARTITIONS": "4"}
SOON = 10.0
"""Seconds: much less than the long session timeout."""


async def test_every_event_counts_once_while_consumers_join_leave_and_are_killed(
    environment: dict[str, str],
) -> None:
    async with activity(environment | SHORT) as pipeline:
        for number in range(8):
            if number % 3 == 2:
                await pipeline.consumers.pop(0).stop()
            else:
                pipeline.start_consumer(pipeline.consumer(limit=5))
            await write(pipeline, f"page{number}-", pages=2)
        await assert_counted_once(pipeline)


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("where", "says"),
    [("before", "the tracking was moved"), ("inside", "waiting for its server")],
)
async def test_a_consumer_that_stands_still_longer_than_its_session_wakes_up_to_do_no_harm(
    environment: dict[str, str], tmp_path: Path, where: str, says: str
) -> None:
    async with (
        activity(environment | SHORT) as pipeline,
        child(pipeline.environment, tmp_path / "log", where) as zombie,
    ):
        await write(pipeline, "early")
        await zombie.stands_still()
        pipeline.start_consumer()
        await assert_counted_once(pipeline)

        zombie.send(signal.SIGCONT)
        await zombie.says(says)
        await write(pipeline, "late")
        await assert_counted_once(pipeline)


@pytest.mark.usefixtures("programs")
async def test_what_a_consumer_that_stands_still_has_locked_is_freed_by_ending_its_session(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with (
        activity(environment | SHORT) as pipeline,
        child(pipeline.environment, tmp_path / "log", "within") as zombie,
        pipeline.store.connected() as operator,
    ):
        await write(pipeline, "early")
        await zombie.stands_still()
        pipeline.start_consumer()
        await until(lambda: ends_who_blocks(operator))
        await assert_counted_once(pipeline)

        zombie.send(signal.SIGCONT)
        await zombie.says("waiting for its server")
        await write(pipeline, "late")
        await assert_counted_once(pipeline)


async def test_a_static_member_comes_back_to_its_partitions_and_nobody_else_notices(
    environment: dict[str, str], assignments: Assignments
) -> None:
    async with activity(environment | LONG) as pipeline:
        first = pipeline.start_consumer(pipeline.consumer(instance="first"))
        await assignments.share(4)
        pipeline.start_consumer(pipeline.consumer(instance="second"))
        await assignments.share(2, 2)
        one, other = assignments.of.values()
        before = [list(one), list(other)]

        await first.stop()
        pipeline.start_consumer(pipeline.consumer(instance="first"))
        await assignments.share(2, 2, 2)

        assert assignments.last()[-1] == before[0][-1]
        assert [one, other] == before
        await write(pipeline, "page")
        await assert_counted_once(pipeline)


async def test_a_coordinator_that_has_just_become_it_is_waited_for(
    environment: dict[str, str], assignments: Assignments, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = AIOKafkaAdminClient.describe_consumer_groups
    not_yet = SimpleNamespace(groups=[(NotCoordinatorForGroupError.errno, "", "", "", "", [], 0)])
    answers = [[not_yet], [not_yet]]

    async def answer(admin: AIOKafkaAdminClient, groups: list[str]) -> Any:
        return answers.pop() if answers else await describe(admin, groups)

    async with activity(environment | LONG) as pipeline:
        pipeline.start_consumer()
        await assignments.share(4)
        monkeypatch.setattr(AIOKafkaAdminClient, "describe_consumer_groups", answer)
        owners = await owners_of(group_of(pipeline.store, pipeline.settings), pipeline.settings)
    assert not answers
    assert len(owners) == 4


class Shared(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells when the partitions of a group are shared, and this member knows its own."""

    def __init__(self) -> None:
        self.out = anyio.Event()

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Let them go."""

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Tell, of none, too."""
        assert not assigned
        self.out.set()


async def test_a_static_member_that_leads_unknowingly_gets_a_topic_that_was_not_there(
    environment: dict[str, str], assignments: Assignments
) -> None:
    """It led the group before it was started again, and shared nothing, as there was nothing."""
    async with activity(environment | LONG, relay=False) as pipeline:
        topic = Topics.of(pipeline.wiki.name, pipeline.settings).events
        leader = AIOKafkaConsumer(
            **pipeline.settings.client(),
            group_id=group_of(pipeline.store, pipeline.settings),
            group_instance_id="only",
            session_timeout_ms=pipeline.settings.session_timeout_ms,
        )
        async with started(leader):
            shared = Shared()
            leader.subscribe([topic], listener=shared)
            await shared.out.wait()

        pipeline.start_relay()
        pipeline.start_consumer(
            pipeline.consumer(instance="only", pacing=Pacing(check_seconds=0.5))
        )
        await assignments.share(4)
        await write(pipeline, "page")
        await assert_counted_once(pipeline)


@pytest.mark.usefixtures("programs")
async def test_a_consumer_told_to_stop_leaves_at_once_and_the_other_takes_over(
    environment: dict[str, str], assignments: Assignments, tmp_path: Path
) -> None:
    command = ("run", "activity", "--grace", "2", "--batch-size", "5")
    async with activity(environment | LONG) as pipeline:
        async with child(
            pipeline.environment,
            tmp_path / "log",
            "consumer",
            *command,
            module="eventsourcing_kafka",
        ) as it:
            await it.says("reading")
            pipeline.start_consumer()
            await assignments.share(2)
            await write(pipeline, "page")
            with anyio.fail_after(SOON):
                it.send(signal.SIGTERM)
                await assignments.share(4)
                assert await it.ends() == 0
        await assert_counted_once(pipeline)


async def test_a_partition_that_is_assigned_anew_while_its_batch_is_in_hand_goes_on_after_it(
    environment: dict[str, str], assignments: Assignments
) -> None:
    few = Pacing(at_once=2)
    async with activity(environment | LONG) as pipeline:
        pipeline.start_consumer(pipeline.consumer(limit=7, pacing=few))
        await write(pipeline, "early")
        await pipeline.settled()
        async with pipeline.store.connected() as connection, connection.transaction():
            await connection.execute(pipeline.store.sql("LOCK {schema}.changes"))
            await write(pipeline, "late")
            await pipeline.published()
            await until(lambda: is_waited_for(connection))
            pipeline.start_consumer(pipeline.consumer(limit=3, pacing=few))
            await assignments.share(2, 2)
        await assert_counted_once(pipeline)


def span(start: int, end: int) -> Span:
    """Return a span of partition 0 with a record at every second offset."""
    records = [ConsumedRecord("", 0, offset) for offset in range(start, end, 2)]
    return Span(0, start, end, records)


@pytest.mark.parametrize(
    ("at", "expected"),
    [(10, span(10, 20)), (14, span(14, 20)), (20, None), (9, None), (None, None)],
)
def test_of_what_was_fetched_comes_next_what_is_after_the_tracking_if_that_is_in_it(
    at: int | None, expected: Span | None
) -> None:
    seen = {} if at is None else {0: Tracking(0, 7, at)}
    assert span(10, 20).after(seen) == expected


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [(span(4, 10), span(4, 20)), (span(4, 8), span(10, 20)), (None, span(10, 20))],
)
def test_what_is_read_is_joined_to_what_was_read_before_it_if_nothing_lies_between(
    earlier: Span | None, expected: Span
) -> None:
    assert span(10, 20).following(earlier) == expected


@pytest.mark.parametrize(
    ("meanwhile", "expected"),
    [
        (Tracking(0, 7, 10), Tracking(0, 9, 20)),  # It was placed where it was.
        (Tracking(0, 9, 20), Tracking(0, 9, 20)),  # It was placed after the batch.
        (Tracking(0, 0, 0), Tracking(0, 0, 0)),  # It was replayed.
        (Tracking(0, 12, 30), Tracking(0, 12, 30)),  # Another member went on, and gave it back.
        (None, None),  # It went to another member.
    ],
)
def test_what_is_applied_is_noted_unless_the_partition_went_away_meanwhile(
    meanwhile: Tracking | None, expected: Tracking | None
) -> None:
    fields: Any = [None] * 10
    subscription = Subscription(*fields)
    subscription.seen = {0: meanwhile} if meanwhile else {}
    subscription.advance({0: Tracking(0, 7, 10)}, [Tracking(0, 9, 20)])
    assert subscription.seen.get(0) == expected


class Rebalanced:
    """A client whose partition is assigned anew just when it is asked; the group is further on."""

    def __init__(self, *, is_assigned: bool) -> None:
        self._is_assigned = is_assigned
        self.subscription: Subscription
        self.sought: list[int] = []

    async def position(self, partition: TopicPartition) -> int:
        await self.rebalance(partition)
        return 100

    async def beginning_offsets(
        self, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def read(self, _: Collection[int]) -> Mapping[int, Tracking]:
        await self.rebalance(TopicPartition("topic", 0))
        return {0: Tracking(0, 7, 10)}

    async def rebalance(self, partition: TopicPartition) -> None:
        await self.subscription.on_partitions_revoked([partition])
        if self._is_assigned:
            await self.subscription.on_partitions_assigned([partition])

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.sought.append(offset)

    def resume(self, partition: TopicPartition) -> None: ...

    async def commit(self, _: object) -> None: ...


@pytest.fixture(params=[True, False], ids=["assigned anew", "revoked"])
def rebalanced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rebalanced:
    async def no_resets(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(Subscription, "_resets", no_resets)
    client = Rebalanced(is_assigned=request.param)
    fields: Any = [client, "group", "topic", 1, None, None, client, None, 100, Pacing()]
    client.subscription = Subscription(*fields)
    return client


async def test_the_offset_of_the_group_is_not_taken_for_how_far_we_have_read(
    rebalanced: Rebalanced,
) -> None:
    """It is ahead of a view that was replayed, or whose database has lost its last commits."""
    subscription = rebalanced.subscription
    subscription._fetched = {0: 10}
    assert [span async for span in subscription._offsets_without_records(())] == []
    assert subscription._fetched == {}


async def test_a_partition_that_is_revoked_while_it_is_placed_is_not_read(
    rebalanced: Rebalanced,
) -> None:
    subscription = rebalanced.subscription
    await subscription.on_partitions_assigned([TopicPartition("topic", 0)])
    await subscription._place_new_partitions()
    assert (rebalanced.sought == [10]) == rebalanced._is_assigned


def test_a_partition_that_is_revoked_is_not_sought(rebalanced: Rebalanced) -> None:
    subscription = rebalanced.subscription
    subscription.seek([Tracking(0, 7, 10)])
    assert rebalanced.sought == []
    assert not subscription.seen
    assert not subscription._fetched


async def test_a_client_that_brings_nothing_though_there_is_something_is_started_again(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    getmany = AIOKafkaConsumer.getmany
    clients: list[object] = []

    async def getmany_of_all_but_the_first(client: Any, *args: Any, **kwargs: Any) -> Any:
        if client not in clients:
            clients.append(client)
        if client is clients[0]:
            await anyio.sleep(0.02)
            return {}
        return await getmany(client, *args, **kwargs)

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", getmany_of_all_but_the_first)
    async with activity(environment | SHORT) as pipeline:
        await write(pipeline, "page", pages=2)
        pipeline.start_consumer(pipeline.consumer(pacing=Pacing(check_seconds=0.2)))
        await assert_counted_once(pipeline)
    assert "StuckError: Nothing comes of" in caplog.text


async def test_a_client_that_brings_all_there_is_is_never_taken_for_stuck(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checked = 0
    check = Subscription._check_all_come_on

    async def counting(subscription: Subscription) -> None:
        nonlocal checked
        await check(subscription)
        checked += 1

    monkeypatch.setattr(Subscription, "_check_all_come_on", counting)
    async with activity(environment | SHORT) as pipeline:
        pipeline.start_consumer(pipeline.consumer(pacing=Pacing(poll_ms=20, check_seconds=0.0)))
        for number in range(5):
            await write(pipeline, f"page{number}-", pages=1, edits=2)
            await pipeline.settled()
    assert checked > 20
    assert "StuckError" not in caplog.text


@pytest.mark.parametrize(("grace", "is_applied"), [(0.2, False), (SECONDS, True)])
async def test_a_batch_in_hand_when_told_to_stop_is_finished_or_rolled_back_within_the_grace(
    environment: dict[str, str], grace: float, is_applied: bool
) -> None:
    async with activity(environment | SHORT) as pipeline:
        consumer = pipeline.start_consumer(pipeline.consumer(grace=grace))
        await write(pipeline, "early", pages=1)
        await pipeline.settled()
        before = await pipeline.trackings()
        async with (
            anyio.create_task_group() as stopping,
            pipeline.store.connected() as connection,
            connection.transaction(),
        ):
            await connection.execute(pipeline.store.sql("LOCK {schema}.changes"))
            await write(pipeline, "late", pages=1, edits=1)
            await until(lambda: is_waited_for(connection))
            stopping.start_soon(consumer.stop)
            if not is_applied:
                with anyio.fail_after(SOON):
                    await consumer.stop()
        assert (await pipeline.trackings() != before) is is_applied
        pipeline.start_consumer()
        await assert_counted_once(pipeline)


async def test_a_full_disk_is_waited_out_and_said_once(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_rows = ActivityUnitOfWork.write
    refusals = iter([psycopg.errors.DiskFull("No space left on device")] * 3)

    async def write_when_there_is_room(unit: ActivityUnitOfWork, connection: Any) -> None:
        for refusal in refusals:
            raise refusal
        await write_rows(unit, connection)

    async with activity(environment | SHORT) as pipeline:
        await write(pipeline, "page", pages=2)
        await pipeline.published()
        monkeypatch.setattr(ActivityUnitOfWork, "write", write_when_there_is_room)
        pipeline.start_consumer()
        await assert_counted_once(pipeline)
    assert caplog.text.count("waiting for its server: DiskFull: No space left on device") == 1


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_of_two_relays_one_publishes_and_the_other_takes_over_in_seconds(
    environment: dict[str, str],
    tmp_path: Path,
    how: signal.Signals,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        activity(environment | SHORT, relay=False) as pipeline,
        child(
            pipeline.environment,
            tmp_path / "log",
            *RELAY,
            module="eventsourcing_kafka",
        ) as first,
    ):
        pipeline.start_consumer()
        await first.says("publishing after position 0")
        await write(pipeline, "early", pages=2)
        await pipeline.settled()
        caplog.set_level("INFO")
        pipeline.start_relay()
        await until(lambda: is_so("another relay publishes" in caplog.text))
        assert "publishing after" not in caplog.text

        first.send(how)
        await write(pipeline, "late", pages=2)
        with anyio.fail_after(SOON):
            await pipeline.published()
        if how is signal.SIGSTOP:
            first.send(signal.SIGCONT)
            await first.says(r"another relay publishes|Another relay .* has taken over")
            await write(pipeline, "last", pages=2)
        await assert_counted_once(pipeline)
