"""A transaction whose statements do not wait for each other's answers."""

from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, LiteralString

import anyio
import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg.waiting import Wait

from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.producer.runtime.postgres import NotAheadError, Session, connected

MAKE = """
    CREATE TABLE numbers (number integer PRIMARY KEY);
    CREATE TABLE doubles (
        number integer REFERENCES numbers DEFERRABLE INITIALLY DEFERRED
    )
"""
INSERT: LiteralString = "INSERT INTO numbers VALUES (1)"


@pytest.fixture
async def connection(postgres: Postgres, database: Callable[[str], str]) -> AsyncIterator[Session]:
    async with connected(conninfo=postgres.dsn(database("ahead"))) as connection:
        await connection.execute(MAKE)
        yield connection


async def run_ahead(connection: Session, *statements: LiteralString) -> None:
    async with connection.sent_ahead():
        for statement in statements:
            await connection.execute(statement)


async def numbers(connection: Session) -> list[int]:
    cursor = await connection.execute("SELECT number FROM numbers ORDER BY number")
    return [number for (number,) in await cursor.fetchall()]


async def test_rows_are_fetched_after_others_were_asked_for_and_all_is_committed(
    connection: Session,
) -> None:
    async with connection.sent_ahead():
        inserted = await connection.execute("INSERT INTO numbers VALUES (1) RETURNING number")
        found = await connection.execute("SELECT count(*) FROM numbers")
        assert await found.fetchone() == (1,)
        assert await inserted.fetchone() == (1,)

    assert await numbers(connection) == [1]
    assert connection.info.transaction_status is TransactionStatus.IDLE


async def test_what_is_refused_first_is_raised_and_nothing_is_kept(
    connection: Session,
) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        await run_ahead(connection, INSERT, INSERT, "INSERT INTO nowhere VALUES (1)")

    assert await numbers(connection) == []


async def test_whoever_fetches_behind_what_is_refused_is_told_and_nothing_is_kept(
    connection: Session,
) -> None:
    async def fetch() -> None:
        async with connection.sent_ahead():
            await connection.execute("INSERT INTO nowhere VALUES (1)")
            cursor = await connection.execute("SELECT 1")
            await cursor.fetchone()

    with pytest.raises(psycopg.errors.UndefinedTable):
        await fetch()

    await run_ahead(connection, INSERT)
    assert await numbers(connection) == [1]


async def test_what_is_refused_when_it_is_committed_is_raised(
    connection: Session,
) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await run_ahead(connection, INSERT, "INSERT INTO doubles VALUES (2)")

    assert await numbers(connection) == []


async def test_an_error_of_the_program_undoes_what_was_sent(
    connection: Session,
) -> None:
    async def fail() -> None:
        async with connection.sent_ahead():
            await connection.execute(INSERT)
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await fail()

    assert await numbers(connection) == []


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_nobody_ends_it_from_inside(connection: Session, end: str) -> None:
    async def end_it() -> None:
        async with connection.sent_ahead():
            await connection.execute(INSERT)
            await getattr(connection, end)()

    with pytest.raises(psycopg.ProgrammingError, match="forbidden"):
        await end_it()

    assert await numbers(connection) == []


async def test_a_transaction_inside_of_it_is_a_part_of_it(connection: Session) -> None:
    async def undo() -> None:
        async with connection.sent_ahead():
            cursor = await connection.execute("SELECT 1")
            await cursor.fetchone()  # With nothing on its way psycopg takes it for none.
            async with connection.transaction():
                await connection.execute(INSERT)
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await undo()

    assert await numbers(connection) == []


async def test_what_is_undone_inside_of_it_leaves_the_rest(connection: Session) -> None:
    async with connection.sent_ahead():
        await connection.execute(INSERT)
        with pytest.raises(psycopg.errors.UniqueViolation):
            async with connection.transaction():
                await connection.execute(INSERT)
        await connection.execute("INSERT INTO numbers VALUES (2)")

    assert await numbers(connection) == [1, 2]


async def test_who_looks_at_what_is_not_known_yet_is_told(connection: Session) -> None:
    async with connection.sent_ahead():
        cursor = await connection.execute(INSERT)
        with pytest.raises(NotAheadError, match=r"rowcount can't .* leave sent_ahead=True out"):
            assert cursor.rowcount
        found = await connection.execute("SELECT * FROM numbers")
        assert await found.fetchall() == [(1,)]
        assert (cursor.rowcount, found.rowcount) == (1, 1)
        await cursor.executemany("INSERT INTO numbers VALUES (%s)", [(2,), (3,)])
        with pytest.raises(NotAheadError):
            assert cursor.rowcount


async def test_who_copies_or_streams_is_told(connection: Session) -> None:
    async with connection.sent_ahead():
        cursor = connection.cursor()
        with pytest.raises(NotAheadError, match="COPY"):
            cursor.copy("COPY numbers FROM STDIN")
        with pytest.raises(NotAheadError, match=r"stream\(\)"):
            cursor.stream("SELECT 1")
    async with cursor.copy("COPY numbers FROM STDIN") as copy:
        await copy.write_row([7])
    assert [row async for row in cursor.stream("SELECT * FROM numbers")] == [(7,)]


async def test_more_than_a_socket_takes_at_once_is_answered(connection: Session) -> None:
    large: LiteralString = "SELECT length(%s)"
    with anyio.fail_after(60):
        async with connection.sent_ahead():
            await connection.execute(large, ["x" * 50_000_000])
            async with connection.transaction():
                await connection.execute(INSERT)
            cursor = await connection.execute(large, ["x" * 50_000_000])
            assert await cursor.fetchone() == (50_000_000,)
            await connection.execute(large, ["x" * 50_000_000])

    assert await numbers(connection) == [1]


async def test_what_is_waited_for_has_ended_when_the_wait_is_cancelled(
    connection: Session,
) -> None:
    ends = []

    def waits_once_more() -> Generator[Any, Any, None]:
        try:
            while True:
                yield Wait.R
        finally:
            ends.append("told")
            try:
                yield Wait.R
            finally:
                ends.append("ended")

    waiting = waits_once_more()
    with anyio.move_on_after(0.01):
        await connection.wait(waiting)

    assert ends == ["told", "ended"]
