"""Of two relays for one application, one publishes."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiokafka.errors import ProducerFenced
from eventsourcing.postgres import PostgresApplicationRecorder

from eventsourcing_kafka.producer.outbox import RecorderOutbox
from eventsourcing_kafka.producer.relay import Publisher, Relay, ReplacedError
from eventsourcing_kafka.producer.wire import Record
from tests.outbox.readers import WatchedOutbox

from .under_test import RelayUnderTest, positions

CUT_OUTBOXES = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name SIMILAR TO 'outbox|relay %' AND datname = current_database()
"""


@pytest.fixture
async def topics(under_test: RelayUnderTest) -> None:
    """Make the topics: a publisher, other than a relay, does not wait for new ones."""
    await under_test.catch_up()


def record(under_test: RelayUnderTest, position: int) -> Record:
    (notification,) = under_test.app.recorder.select_notifications(position, 1)
    return under_test.wire.to_record(notification)


async def publish(publisher: Publisher, under_test: RelayUnderTest, *published: int) -> None:
    records = (record(under_test, position) for position in published)
    await publisher.publish(await publisher.batch(records, published[-1]))


@pytest.mark.usefixtures("topics")
async def test_a_publisher_that_was_replaced_publishes_nothing_more(
    under_test: RelayUnderTest,
) -> None:
    under_test.write(3)
    wire, settings = under_test.wire, under_test.settings

    async with Publisher.connected(wire, settings, "old") as old:
        await publish(old, under_test, 1)
        async with Publisher.connected(wire, settings, "new") as new:
            assert new.last
            assert new.last.position == 1
            with pytest.raises(ProducerFenced):
                await publish(old, under_test, 2)
            assert await under_test.published() == 1
            await publish(new, under_test, 2, 3)
            assert await under_test.published() == 3

    assert sorted(positions(await under_test.records())) == [1, 2, 3]


@pytest.mark.usefixtures("topics")
async def test_a_publisher_replaced_in_the_middle_of_a_batch_publishes_nothing_of_it(
    under_test: RelayUnderTest,
) -> None:
    under_test.write(2)
    wire, settings = under_test.wire, under_test.settings

    async with Publisher.connected(wire, settings, "old") as old:
        producer = old._producer
        commit = producer.commit_transaction

        async def commit_late() -> None:
            async with Publisher.connected(wire, settings, "new") as new:
                assert new.last is None
            await commit()

        producer.commit_transaction = commit_late
        with pytest.raises(ProducerFenced):
            await publish(old, under_test, 1, 2)

    assert await under_test.records() == []


async def test_a_relay_waits_for_its_turn_and_takes_over(under_test: RelayUnderTest) -> None:
    recorder = under_test.app.recorder
    assert isinstance(recorder, PostgresApplicationRecorder)
    outbox = WatchedOutbox.of(recorder)

    async with anyio.create_task_group() as second:
        async with under_test.relaying():
            await under_test.progress.reached(under_test.write(3))
            second.start_soon(Relay(outbox, under_test.wire, under_test.settings).run)
            await outbox.waiting_for_turn.wait()
            ours = f"{socket.gethostname()}-{os.getpid()}"
            assert (await under_test.status()).owner == ours
            await under_test.progress.reached(under_test.write(3))
        await under_test.progress.reached(under_test.write(3))
        second.cancel_scope.cancel()

    assert (await under_test.status()).owner is None
    assert sorted(positions(await under_test.records())) == list(range(1, 10))


async def test_a_relay_that_was_fenced_off_ends(under_test: RelayUnderTest) -> None:
    outbox = RecorderOutbox(under_test.app.recorder)  # It does not wait for its turn.

    with pytest.RaisesGroup(ReplacedError, flatten_subgroups=True):
        async with under_test.relaying():
            await under_test.progress.reached(under_test.write(3))
            async with anyio.create_task_group() as group:
                under_test.progress.forget()
                group.start_soon(Relay(outbox, under_test.wire, under_test.settings).run)
                await under_test.progress.reached(3)
                while True:  # Who is fenced off before the other has published begins once more.
                    last = under_test.write(3)
                    await under_test.progress.reached(last)

    await under_test.catch_up()
    assert sorted(positions(await under_test.records())) == list(range(1, last + 1))


async def test_a_relay_that_has_begun_where_another_ended_is_not_taken_for_replaced(
    under_test: RelayUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    under_test.write(3)
    await under_test.catch_up()
    under_test.progress.forget()

    async with under_test.relaying():
        await under_test.progress.reached(3)
        # With the same transactional ID, and nothing that it publishes there.
        async with Publisher.connected(under_test.wire, under_test.settings, "elsewhere"):
            under_test.progress.forget()
            last = under_test.write(3)
            await under_test.progress.reached(last)

    assert sorted(positions(await under_test.records())) == list(range(1, last + 1))
    assert "KAFKA_GROUP_PREFIX" in caplog.text


async def test_a_relay_that_is_fenced_before_it_knows_what_there_is_begins_again(
    under_test: RelayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_test.write(3)
    await under_test.catch_up()
    connected, refusals = Publisher.connected, [ProducerFenced()]

    @asynccontextmanager
    async def fenced_once(*arguments: Any) -> AsyncIterator[Publisher]:
        if refusals:
            raise refusals.pop()
        async with connected(*arguments) as publisher:
            yield publisher

    monkeypatch.setattr(Publisher, "connected", fenced_once)
    last = under_test.write(3)
    await under_test.catch_up()

    assert sorted(positions(await under_test.records())) == list(range(1, last + 1))


async def test_a_relay_whose_database_cuts_its_connections_goes_on(
    under_test: RelayUnderTest,
) -> None:
    async with under_test.relaying():
        for _ in range(3):
            await under_test.progress.reached(under_test.write(3))
            await under_test.execute(CUT_OUTBOXES)

        await under_test.progress.reached(under_test.write(3))

    assert sorted(positions(await under_test.records())) == list(range(1, 13))
