"""What is read while a transaction is under way is held back, and goes on together."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from uuid import UUID

import anyio
import pytest
from eventsourcing.persistence import Notification

from eventsourcing_kafka.producer.relay.linger import Linger

FOR_EVER = float("inf")


class Stage:
    """A linger, what it is given to read, and what it hands on."""

    def __init__(self, linger: Linger) -> None:
        self.linger = linger
        self.handed_on: list[list[int]] = []
        self._came = anyio.Event()
        self._send, self._read = anyio.create_memory_object_stream[Sequence[Notification]]()

    async def read(self, *positions: int) -> None:
        """Have all that there is read, with these positions, and whatever follows happen."""
        await self.read_of_more(*positions)
        await self.read_of_more()

    async def read_of_more(self, *positions: int) -> None:
        """Have a batch with these positions read, which are not all that there is."""
        await self._send.send([notification(position) for position in positions])
        await anyio.wait_all_tasks_blocked()

    async def run(self) -> None:
        async with self._read, self._send, aclosing(self.linger.batches(self._read)) as batches:
            async for batch in batches:
                self.handed_on.append([each.id for each in batch])
                self._came.set()

    async def until(self, batches: int) -> None:
        """Wait until so many batches were handed on."""
        with anyio.fail_after(10):
            while len(self.handed_on) < batches:
                self._came = anyio.Event()
                await self._came.wait()


def notification(position: int) -> Notification:
    return Notification(UUID(int=1), position, "some:topic", b"", id=position)


@asynccontextmanager
async def lingering(linger: Linger) -> AsyncIterator[Stage]:
    stage = Stage(linger)
    async with anyio.create_task_group() as group:
        group.start_soon(stage.run)
        yield stage
        group.cancel_scope.cancel()


async def test_what_is_read_while_nothing_is_under_way_goes_on_at_once() -> None:
    async with lingering(Linger(10)) as stage:
        await stage.read(1)
        stage.linger.published(1, took=FOR_EVER)
        await stage.read(2)
        stage.linger.published(2, took=FOR_EVER)
        await stage.read(3, 4)

    assert stage.handed_on == [[1], [2], [3, 4]]


async def test_what_is_read_while_a_transaction_is_under_way_waits_for_its_end() -> None:
    async with lingering(Linger(10)) as stage:
        await stage.read(1)
        await stage.read(2)
        await stage.read(3, 4)
        assert stage.handed_on == [[1]]
        stage.linger.published(1, took=0)
        await stage.until(2)

    assert stage.handed_on == [[1], [2, 3, 4]]


async def test_what_was_gathered_waits_as_long_again_as_the_transaction_took() -> None:
    async with lingering(Linger(10, longest=FOR_EVER)) as stage:
        await stage.read(1)
        await stage.read(2)
        stage.linger.published(1, took=FOR_EVER)
        await stage.read(3)

    assert stage.handed_on == [[1]]


async def test_nobody_waits_twice_for_a_slow_transaction() -> None:
    async with lingering(Linger(10, longest=0.01)) as stage:
        await stage.read(1)
        await stage.read(2)
        stage.linger.published(1, took=FOR_EVER)
        await stage.until(2)

    assert stage.handed_on == [[1], [2]]


async def test_what_has_waited_for_one_transaction_waits_for_all_that_were_handed_on() -> None:
    async with lingering(Linger(2)) as stage:
        await stage.read(1)
        await stage.read(2, 3)
        assert stage.handed_on == [[1], [2, 3]]
        await stage.read(4)
        stage.linger.published(1, took=0)
        await anyio.wait_all_tasks_blocked()
        assert stage.handed_on == [[1], [2, 3]]
        stage.linger.published(3, took=0)
        await stage.until(3)

    assert stage.handed_on == [[1], [2, 3], [4]]


async def test_a_backlog_is_not_held_back_however_small_its_batches_are() -> None:
    async with lingering(Linger(10)) as stage:
        await stage.read_of_more(1)
        await stage.read_of_more(2, 3)
        await stage.read(4)
        await stage.read(5)

    assert stage.handed_on == [[1], [2, 3], [4]], "and what comes after it is"


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_a_backlog_goes_on_at_once_in_batches_that_are_full(limit: int) -> None:
    async with lingering(Linger(limit)) as stage:
        await stage.read(1)
        await stage.read(*range(2, 2 + limit))
        await stage.read(*range(2 + limit, 2 + 2 * limit))

    assert [len(batch) for batch in stage.handed_on] == [1, limit, limit]


async def test_no_batch_is_larger_than_the_limit() -> None:
    async with lingering(Linger(3)) as stage:
        await stage.read(1)
        await stage.read(2, 3)
        await stage.read(4, 5)

    assert stage.handed_on == [[1], [2, 3, 4], [5]]


async def test_what_is_gathered_when_nothing_more_can_be_read_goes_on() -> None:
    send, read = anyio.create_memory_object_stream[Sequence[Notification]](3)
    linger = Linger(10)
    async with send, read, aclosing(linger.batches(read)) as batches:
        await send.send([notification(1)])
        assert [each.id for each in await anext(batches)] == [1]
        await send.send([])
        await send.send([notification(2)])
        await send.aclose()  # As when the outbox is lost.

        assert [[each.id for each in batch] async for batch in batches] == [[2]]
