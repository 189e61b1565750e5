"""A hole in the positions is passed when nobody can fill it any more, and not before."""

import math
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from eventsourcing.postgres import PostgresApplicationRecorder

from eventsourcing_kafka.producer.outbox import PostgresOutbox

from .readers import Batches, WatchedOutbox, next_positions, read, reading
from .writers import Table, write_in_a_thread


@pytest.fixture
def outbox(recorder: PostgresApplicationRecorder) -> WatchedOutbox:
    return WatchedOutbox.of(recorder)


async def test_the_hole_of_a_transaction_rolled_back_is_passed(
    table: Table, outbox: PostgresOutbox
) -> None:
    async with table.connection() as connection:
        await table.insert(connection)
        await connection.rollback()
    position = await table.insert_and_commit()

    assert position == 2
    assert await read(outbox) == [2]


async def test_the_hole_of_a_savepoint_rolled_back_is_passed_while_its_transaction_lives_on(
    table: Table, outbox: PostgresOutbox
) -> None:
    async with table.connection() as connection:
        await connection.execute("SAVEPOINT here")
        await table.insert(connection)
        await connection.execute("ROLLBACK TO here")
        position = await table.insert_and_commit()

        assert await read(outbox) == [position]


async def test_a_hole_that_a_transaction_in_flight_can_fill_is_waited_for(
    table: Table, outbox: WatchedOutbox
) -> None:
    await table.insert_and_commit()
    async with table.connection() as in_flight, reading(outbox) as batches:
        await table.insert(in_flight)
        await table.insert_and_commit()

        assert await next_positions(batches) == [1]  # What is before the hole does not wait.
        async with _pending(outbox, batches) as received:
            assert await table.insert_and_commit() == 4  # No writer waits for the proof.
            assert received == []
            await in_flight.commit()

    assert received == [2, 3, 4]


async def test_a_hole_is_passed_once_the_transaction_in_flight_has_rolled_back(
    table: Table, outbox: WatchedOutbox
) -> None:
    async with table.connection() as in_flight, reading(outbox) as batches:
        await table.insert(in_flight)
        await table.insert_and_commit()

        async with _pending(outbox, batches, 1) as received:
            await in_flight.rollback()

    assert received == [2]


async def test_a_writer_that_comes_after_the_hole_was_seen_does_not_hold_it_up(
    table: Table, outbox: WatchedOutbox
) -> None:
    async with (
        table.connection() as in_flight,
        table.connection() as latecomer,
        reading(outbox) as batches,
    ):
        await table.insert(in_flight)
        await table.insert_and_commit()

        async with _pending(outbox, batches, 1) as received:
            await table.insert(latecomer)
            await in_flight.rollback()

    assert received == [2]


async def test_the_librarys_database_functions_are_held_up_by_a_hole_like_any_writer(
    table: Table, outbox: WatchedOutbox, recorder: PostgresApplicationRecorder
) -> None:
    async with table.connection() as in_flight, reading(outbox) as batches:
        await table.insert(in_flight)
        assert await write_in_a_thread(recorder, 2) == [2, 3]

        async with _pending(outbox, batches) as received:
            await in_flight.commit()

    assert received == [1, 2, 3]


@asynccontextmanager
async def _pending(
    outbox: WatchedOutbox, batches: Batches, count: int = 3
) -> AsyncIterator[list[int]]:
    """Read on in the background; the body runs while the proof of a hole is pending."""
    received: list[int] = []

    async def read_on() -> None:
        received.extend(await next_positions(batches, count))

    async with anyio.create_task_group() as group:
        group.start_soon(read_on)
        await outbox.proving.wait()
        yield received


WRITERS, TRANSACTIONS = 6, 40


@pytest.fixture
def seed() -> int:
    """Return a seed, which is printed when the test fails; SEED repeats one."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    print(f"SEED={seed}")  # noqa: T201
    return seed


async def test_writers_that_do_not_lock_lose_and_reorder_nothing(
    table: Table, recorder: PostgresApplicationRecorder, seed: int
) -> None:
    committed: list[int] = []

    async def write_bare(dice: random.Random) -> None:
        async with table.connection() as connection:
            for _ in range(TRANSACTIONS):
                positions = [await table.insert(connection) for _ in range(dice.randint(1, 3))]
                await connection.execute("SELECT pg_sleep(%s)", [dice.random() * 0.01])
                if dice.random() < 0.3:
                    await connection.rollback()
                else:
                    await connection.commit()
                    committed.extend(positions)

    async def write_with_the_library(dice: random.Random) -> None:
        for _ in range(TRANSACTIONS):
            committed.extend(await write_in_a_thread(recorder, dice.randint(1, 3)))

    told, batches_read = anyio.create_memory_object_stream[list[int]](math.inf)

    async def read_on() -> None:
        async with reading(PostgresOutbox.of(recorder, limit=7), deadline=60) as batches, told:
            while True:
                await told.send(await next_positions(batches))

    received: list[int] = []
    async with anyio.create_task_group() as group, batches_read:
        group.start_soon(read_on)
        async with anyio.create_task_group() as writing:
            for number in range(WRITERS):
                way = write_bare if number % 3 else write_with_the_library
                writing.start_soon(way, random.Random(seed + number))
        last = await write_in_a_thread(recorder)
        while received[-1:] != last:
            received += await batches_read.receive()
        group.cancel_scope.cancel()

    assert received == sorted([*committed, *last])
    assert len(received) < received[-1]  # There were holes.
