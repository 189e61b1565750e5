"""What can happen to an outbox over Postgres, and what it can not be read with."""

import anyio
import psycopg
import pytest
from eventsourcing.postgres import PostgresApplicationRecorder

from producer.outbox import PostgresOutbox
from producer.outbox.postgres import UnfitOutboxError

from .readers import next_positions, read, reading
from .writers import Table, write

KILL_OUTBOXES = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name = 'outbox' AND datname = current_database()
"""


async def test_a_writer_that_notifies_nobody_is_found_by_looking(
    table: Table, recorder: PostgresApplicationRecorder
) -> None:
    async with reading(PostgresOutbox.of(recorder)) as batches, anyio.create_task_group() as group:
        await table.insert_and_commit()
        assert await next_positions(batches) == [1]

        group.start_soon(table.insert_and_commit)

        assert await next_positions(batches) == [2]


async def test_a_lost_connection_is_an_error_and_reading_goes_on_after_the_last_position(
    table: Table, recorder: PostgresApplicationRecorder
) -> None:
    outbox = PostgresOutbox.of(recorder)
    write(recorder, 2)

    async with reading(outbox) as batches:
        assert await next_positions(batches, 2) == [1, 2]
        await table.execute(KILL_OUTBOXES)
        with pytest.raises(psycopg.OperationalError):
            await anext(batches)
    write(recorder, 2)

    assert await read(outbox, after=2, count=2) == [3, 4]


async def test_a_server_that_is_not_there_is_an_operational_error(
    recorder: PostgresApplicationRecorder, environment: dict[str, str]
) -> None:
    nowhere = PostgresOutbox(
        {"host": environment["POSTGRES_HOST"], "port": "1"}, "public", "events", "events"
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
