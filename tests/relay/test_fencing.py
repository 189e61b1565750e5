"""Of two relays for one application, one publishes."""

import os
import socket

import anyio
import pytest
from aiokafka.errors import ProducerFenced
from eventsourcing.postgres import PostgresApplicationRecorder

from eventsourcing_kafka.producer.outbox import RecorderOutbox
from eventsourcing_kafka.producer.relay import Publisher, Relay, ReplacedError
from eventsourcing_kafka.producer.wire import Record
from tests.outbox.readers import WatchedOutbox

from .pipeline import Pipeline, positions

CUT_OUTBOXES = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name SIMILAR TO 'outbox|relay %' AND datname = current_database()
"""


@pytest.fixture
async def topics(pipeline: Pipeline) -> None:
    """Make the topics: a publisher, other than a relay, does not wait for new ones."""
    await pipeline.catch_up()


def record(pipeline: Pipeline, position: int) -> Record:
    (notification,) = pipeline.app.recorder.select_notifications(position, 1)
    return pipeline.wire.to_record(notification)


async def publish(publisher: Publisher, pipeline: Pipeline, *published: int) -> None:
    records = (record(pipeline, position) for position in published)
    await publisher.publish(await publisher.batch(records, published[-1]))


@pytest.mark.usefixtures("topics")
async def test_a_publisher_that_was_replaced_publishes_nothing_more(pipeline: Pipeline) -> None:
    pipeline.write(3)
    wire, settings = pipeline.wire, pipeline.settings

    async with Publisher.connected(wire, settings, "old") as old:
        await publish(old, pipeline, 1)
        async with Publisher.connected(wire, settings, "new") as new:
            assert new.last
            assert new.last.position == 1
            with pytest.raises(ProducerFenced):
                await publish(old, pipeline, 2)
            assert await pipeline.published() == 1
            await publish(new, pipeline, 2, 3)
            assert await pipeline.published() == 3

    assert sorted(positions(await pipeline.records())) == [1, 2, 3]


@pytest.mark.usefixtures("topics")
async def test_a_publisher_replaced_in_the_middle_of_a_batch_publishes_nothing_of_it(
    pipeline: Pipeline,
) -> None:
    pipeline.write(2)
    wire, settings = pipeline.wire, pipeline.settings

    async with Publisher.connected(wire, settings, "old") as old:
        producer = old._producer
        commit = producer.commit_transaction

        async def commit_late() -> None:
            async with Publisher.connected(wire, settings, "new") as new:
                assert new.last is None
            await commit()

        producer.commit_transaction = commit_late
        with pytest.raises(ProducerFenced):
            await publish(old, pipeline, 1, 2)

    assert await pipeline.records() == []


async def test_a_relay_waits_for_its_turn_and_takes_over(pipeline: Pipeline) -> None:
    recorder = pipeline.app.recorder
    assert isinstance(recorder, PostgresApplicationRecorder)
    outbox = WatchedOutbox.of(recorder)

    async with anyio.create_task_group() as second:
        async with pipeline.relaying():
            await pipeline.progress.reached(pipeline.write(3))
            second.start_soon(Relay(outbox, pipeline.wire, pipeline.settings).run)
            await outbox.waiting_for_turn.wait()
            ours = f"{socket.gethostname()}-{os.getpid()}"
            assert (await pipeline.status()).owner == ours
            await pipeline.progress.reached(pipeline.write(3))
        await pipeline.progress.reached(pipeline.write(3))
        second.cancel_scope.cancel()

    assert (await pipeline.status()).owner is None
    assert sorted(positions(await pipeline.records())) == list(range(1, 10))


async def test_a_relay_that_was_fenced_off_ends(pipeline: Pipeline) -> None:
    outbox = RecorderOutbox(pipeline.app.recorder)  # It does not wait for its turn.

    with pytest.RaisesGroup(ReplacedError, flatten_subgroups=True):
        async with pipeline.relaying():
            await pipeline.progress.reached(pipeline.write(3))
            async with anyio.create_task_group() as group:
                pipeline.progress.forget()
                group.start_soon(Relay(outbox, pipeline.wire, pipeline.settings).run)
                await pipeline.progress.reached(3)
                last = pipeline.write(3)
                await anyio.sleep_forever()

    await pipeline.catch_up()
    assert sorted(positions(await pipeline.records())) == list(range(1, last + 1))


async def test_a_relay_whose_database_cuts_its_connections_goes_on(pipeline: Pipeline) -> None:
    async with pipeline.relaying():
        for _ in range(3):
            await pipeline.progress.reached(pipeline.write(3))
            await pipeline.execute(CUT_OUTBOXES)

        await pipeline.progress.reached(pipeline.write(3))

    assert sorted(positions(await pipeline.records())) == list(range(1, 13))
