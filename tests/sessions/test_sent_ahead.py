"""A transaction whose statements do not wait for each other's answers."""

from collections.abc import AsyncIterator, Callable
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.producer.runtime.postgres import connected, sent_ahead

MAKE = """
    CREATE TABLE numbers (number integer PRIMARY KEY);
    CREATE TABLE doubles (
        number integer REFERENCES numbers DEFERRABLE INITIALLY DEFERRED
    )
"""
INSERT: LiteralString = "INSERT INTO numbers VALUES (1)"


@pytest.fixture
async def connection(
    postgres: Postgres, database: Callable[[str], str]
) -> AsyncIterator[AsyncConnection[Any]]:
    async with connected(conninfo=postgres.dsn(database("ahead"))) as connection:
        await connection.execute(MAKE)
        yield connection


async def run_ahead(connection: AsyncConnection[Any], *statements: LiteralString) -> None:
    async with sent_ahead(connection):
        for statement in statements:
            await connection.execute(statement)


async def numbers(connection: AsyncConnection[Any]) -> list[int]:
    cursor = await connection.execute("SELECT number FROM numbers ORDER BY number")
    return [number for (number,) in await cursor.fetchall()]


async def test_rows_are_fetched_after_others_were_asked_for_and_all_is_committed(
    connection: AsyncConnection[Any],
) -> None:
    async with sent_ahead(connection):
        inserted = await connection.execute("INSERT INTO numbers VALUES (1) RETURNING number")
        found = await connection.execute("SELECT count(*) FROM numbers")
        assert await found.fetchone() == (1,)
        assert await inserted.fetchone() == (1,)

    assert await numbers(connection) == [1]
    assert connection.info.transaction_status is TransactionStatus.IDLE


async def test_what_is_refused_first_is_raised_and_nothing_is_kept(
    connection: AsyncConnection[Any],
) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        await run_ahead(connection, INSERT, INSERT, "INSERT INTO nowhere VALUES (1)")

    assert await numbers(connection) == []


async def test_whoever_fetches_behind_what_is_refused_is_told_and_nothing_is_kept(
    connection: AsyncConnection[Any],
) -> None:
    async def fetch() -> None:
        async with sent_ahead(connection):
            await connection.execute("INSERT INTO nowhere VALUES (1)")
            cursor = await connection.execute("SELECT 1")
            await cursor.fetchone()

    with pytest.raises(psycopg.errors.UndefinedTable):
        await fetch()

    await run_ahead(connection, INSERT)
    assert await numbers(connection) == [1]


async def test_what_is_refused_when_it_is_committed_is_raised(
    connection: AsyncConnection[Any],
) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await run_ahead(connection, INSERT, "INSERT INTO doubles VALUES (2)")

    assert await numbers(connection) == []


async def test_an_error_of_the_program_undoes_what_was_sent(
    connection: AsyncConnection[Any],
) -> None:
    async def fail() -> None:
        async with sent_ahead(connection):
            await connection.execute(INSERT)
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await fail()

    assert await numbers(connection) == []
