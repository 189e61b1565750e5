"""A relay that is told to stop finishes the batch in hand, if that does not take too long."""

import anyio
import pytest

from eventsourcing_kafka.producer.relay import Publisher
from eventsourcing_kafka.producer.relay.publisher import TRANSACTION_TIMEOUT_MS, Batch

from .under_test import RelayUnderTest, positions


class SlowBatch:
    """Holds up what is published, once it is sent and before it is committed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = anyio.Event()
        self.released = anyio.Event()
        self.sizes: list[int] = []
        publish = Publisher.publish

        async def publish_slowly(publisher: Publisher, batch: Batch) -> None:
            self.sizes.append(batch.size)
            producer = publisher._producer
            commit = producer.commit_transaction

            async def commit_slowly() -> None:
                self.begun.set()
                await self.released.wait()
                await commit()

            producer.commit_transaction = commit_slowly
            await publish(publisher, batch)

        monkeypatch.setattr(Publisher, "publish", publish_slowly)


@pytest.fixture
def slow_batch(under_test: RelayUnderTest, monkeypatch: pytest.MonkeyPatch) -> SlowBatch:
    return SlowBatch(monkeypatch)


async def test_the_batch_in_flight_is_finished(
    under_test: RelayUnderTest, slow_batch: SlowBatch
) -> None:
    under_test.write(10)

    async with anyio.create_task_group() as group:
        group.start_soon(under_test.relay(limit=4).run)
        await slow_batch.begun.wait()
        group.cancel_scope.cancel()
        slow_batch.released.set()

    assert sorted(positions(await under_test.records())) == [1, 2, 3, 4]
    assert (await under_test.status()).position == 4


async def test_what_is_committed_while_a_batch_is_under_way_is_the_next_batch(
    under_test: RelayUnderTest, slow_batch: SlowBatch
) -> None:
    under_test.write()

    async with under_test.relaying():
        await slow_batch.begun.wait()
        last = [under_test.write() for _ in range(5)][-1]
        slow_batch.released.set()
        await under_test.progress.reached(last)

    assert slow_batch.sizes == [1, 5]


async def test_a_batch_that_takes_longer_than_the_grace_is_given_up_and_published_later(
    under_test: RelayUnderTest, slow_batch: SlowBatch
) -> None:
    last = under_test.write(10)

    async with anyio.create_task_group() as group:
        group.start_soon(under_test.relay(grace=0.1).run)
        await slow_batch.begun.wait()
        group.cancel_scope.cancel()
    assert (await under_test.status()).position == 0

    slow_batch.released.set()
    await under_test.catch_up()
    assert sorted(positions(await under_test.records())) == list(range(1, last + 1))


async def test_a_batch_that_is_stuck_is_given_up_and_the_client_started_again(
    under_test: RelayUnderTest, slow_batch: SlowBatch
) -> None:
    last = under_test.write(10)

    async with anyio.create_task_group() as group:
        group.start_soon(under_test.relay(stuck=0.2).run)
        await slow_batch.begun.wait()
        await under_test.progress.gave_up.wait()
        slow_batch.released.set()
        await under_test.progress.reached(last)
        group.cancel_scope.cancel()

    assert sorted(positions(await under_test.records())) == list(range(1, last + 1))


def test_a_stuck_batch_is_given_up_before_the_broker_would_end_its_transaction(
    under_test: RelayUnderTest,
) -> None:
    """Which would look as if another relay had taken over, and end this one."""
    assert under_test.relay()._stuck < TRANSACTION_TIMEOUT_MS / 1000


async def test_an_idle_relay_stops_at_once(under_test: RelayUnderTest) -> None:
    with anyio.fail_after(5):
        await under_test.catch_up()
