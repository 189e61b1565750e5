"""What can happen to an outbox over Postgres, and what it can not be read with."""

import anyio
import psycopg
import pytest
from eventsourcing.postgres import PostgresApplicationRecorder

from eventsourcing_kafka.producer.outbox import PostgresOutbox
from eventsourcing_kafka.producer.outbox.postgres import UnfitOutboxError

from .readers import (
    WatchedOutbox,
    next_batch,
    next_positions,
    read,
    reading,
    take_turns,
)
from .writers import Table, write

KILL_OUTBOXES = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name SIMILAR TO 'outbox|relay %' AND datname = current_database()
"""

NOBODY_HAS_A_TURN = """
    SELECT WHERE NOT EXISTS (
        SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
         WHERE locktype = 'advisory' AND datname = current_database()
    )
"""


async def test_a_writer_that_notifies_nobody_is_found_by_looking(
    table: Table, recorder: PostgresApplicationRecorder
) -> None:
    async with reading(PostgresOutbox.of(recorder)) as batches, anyio.create_task_group() as group:
        await table.insert_and_commit()
        assert await next_positions(batches) == [1]

        group.start_soon(table.insert_and_commit)

        assert await next_positions(batches) == [2]


async def test_the_first_batch_is_small_and_the_next_ones_are_twice_as_large_up_to_the_limit(
    recorder: PostgresApplicationRecorder,
) -> None:
    write(recorder, 17)

    async with reading(PostgresOutbox.of(recorder, limit=5, first_batch=2)) as batches:
        sizes = [len(await next_batch(batches)) for _ in range(5)]

    assert sizes == [2, 4, 5, 5, 1]


async def test_what_is_committed_while_a_batch_is_worked_on_is_heard_of(
    recorder: PostgresApplicationRecorder,
) -> None:
    async with reading(PostgresOutbox.of(recorder, limit=2, poll_seconds=60)) as batches:
        for batch in ([1], [2, 3], [4]):
            write(recorder, len(batch))
            assert await next_positions(batches, len(batch)) == batch


async def test_a_lost_connection_is_an_error_and_reading_goes_on_after_the_last_position(
    table: Table, recorder: PostgresApplicationRecorder
) -> None:
    outbox = PostgresOutbox.of(recorder)
    write(recorder, 2)

    async with reading(outbox) as batches:
        assert await next_positions(batches, 2) == [1, 2]
        await table.execute(KILL_OUTBOXES)
        with pytest.raises(psycopg.OperationalError):
            await next_batch(batches)
    write(recorder, 2)

    assert await read(outbox, after=2, count=2) == [3, 4]


async def test_a_server_that_is_not_there_is_an_operational_error(
    recorder: PostgresApplicationRecorder, environment: dict[str, str]
) -> None:
    nowhere = PostgresOutbox(
        lambda: {"host": environment["POSTGRES_HOST"], "port": "1"}, "public", "events", "events"
    )

    with pytest.raises(psycopg.OperationalError):
        await read(nowhere)


async def test_a_sequence_that_caches_is_refused_with_what_to_do(
    table: Table, recorder: PostgresApplicationRecorder
) -> None:
    sequence = "contentmanagement_events_notification_id_seq"
    await table.execute(f"ALTER SEQUENCE {sequence} CACHE 2")

    with pytest.raises(UnfitOutboxError, match=f"ALTER SEQUENCE {sequence} CACHE 1"):
        await read(PostgresOutbox.of(recorder))


async def test_readers_that_take_turns_wait_for_each_other(
    recorder: PostgresApplicationRecorder,
) -> None:
    await take_turns(PostgresOutbox.of(recorder), WatchedOutbox.of(recorder))


async def test_a_reader_that_is_cancelled_gives_its_turn_back_at_once(
    table: Table, recorder: PostgresApplicationRecorder
) -> None:
    with anyio.CancelScope() as scope:
        async with PostgresOutbox.of(recorder).turn():
            scope.cancel()
            await anyio.sleep_forever()

    await table.until(NOBODY_HAS_A_TURN)


async def test_a_turn_that_is_lost_is_an_operational_error(
    table: Table, recorder: PostgresApplicationRecorder
) -> None:
    with anyio.fail_after(10), pytest.RaisesGroup(psycopg.OperationalError):
        async with PostgresOutbox.of(recorder).turn():
            await table.execute(KILL_OUTBOXES)
            await anyio.sleep_forever()
