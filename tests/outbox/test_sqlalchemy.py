"""The outbox over a table of SQLAlchemy's in Postgres: what its tables allow, and what is refused.

What every outbox promises is in `test_contract`, also for these.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import psycopg
import pytest
from eventsourcing_sqlalchemy.datastore import SQLAlchemyDatastore
from eventsourcing_sqlalchemy.recorders import SQLAlchemyApplicationRecorder
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.outbox import UnknownRecorderError, outbox_of
from eventsourcing_kafka.producer.outbox.sqlalchemy import SQLAlchemyOutbox
from eventsourcing_kafka.producer.runtime.applications import reach
from eventsourcing_kafka.producer.runtime.postgres import (
    PostgresUnreachableError,
    connect_arguments,
)
from eventsourcing_kafka.producer.runtime.retry import LoopHealth, retrying
from eventsourcing_kafka.producer.runtime.sqlalchemy import engine_of, libpq_arguments
from tests.pipeline import until
from tests.sqlalchemy import MODULE, url_of

from .readers import WatchedOutbox, next_positions, read, reading, take_turns
from .writers import write, write_in_a_thread


class Watched(SQLAlchemyOutbox, WatchedOutbox):
    """Tells when it was held up."""


@pytest.fixture
def settings(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "PERSISTENCE_MODULE": MODULE, "SQLALCHEMY_URL": url_of(environment)}


@pytest.fixture
def recorder(settings: dict[str, str]) -> Iterator[SQLAlchemyApplicationRecorder]:
    with ContentManagement(settings) as app:
        assert isinstance(app.recorder, SQLAlchemyApplicationRecorder)
        yield app.recorder


INSERT = """
    INSERT INTO contentmanagement_events (originator_id, originator_version, topic, state)
    VALUES (%s, 1, 'some:topic', '{}') RETURNING id
"""


@asynccontextmanager
async def transaction(recorder: SQLAlchemyApplicationRecorder) -> AsyncIterator[Any]:
    """Begin one with bare SQL, which is rolled back unless it is committed."""
    async with await AsyncConnection.connect(**connect_arguments(recorder.datastore)) as connection:
        yield connection
        await connection.rollback()


async def insert(connection: Any) -> int:
    row = await (await connection.execute(INSERT, [uuid4()])).fetchone()
    return int(row[0])


async def test_a_hole_is_passed_when_nobody_can_fill_it_any_more_and_not_before(
    recorder: SQLAlchemyApplicationRecorder,
) -> None:
    outbox = Watched.through(recorder)
    received: list[int] = []
    async with reading(outbox) as batches, transaction(recorder) as in_flight:
        assert await insert(in_flight) == 1
        async with transaction(recorder) as other:
            assert await insert(other) == 2
            await other.commit()

        async def read_on() -> None:
            received.extend(await next_positions(batches, 2))

        async with anyio.create_task_group() as group:
            group.start_soon(read_on)
            await outbox.proving.wait()
            assert received == []
            await in_flight.commit()

    assert received == [1, 2]


async def test_the_hole_of_a_transaction_rolled_back_is_passed(
    recorder: SQLAlchemyApplicationRecorder,
) -> None:
    async with transaction(recorder) as in_flight:
        assert await insert(in_flight) == 1
        await in_flight.rollback()

    assert await write_in_a_thread(recorder) == [2]
    assert await read(SQLAlchemyOutbox.through(recorder)) == [2]


async def test_a_writer_wakes_who_would_look_in_a_minute(
    recorder: SQLAlchemyApplicationRecorder,
) -> None:
    async with reading(SQLAlchemyOutbox.through(recorder, poll_seconds=60)) as batches:
        write(recorder)
        assert await next_positions(batches) == [1]
        async with anyio.create_task_group() as group:
            group.start_soon(write_in_a_thread, recorder)
            assert await next_positions(batches) == [2]


async def test_relays_take_turns(recorder: SQLAlchemyApplicationRecorder) -> None:
    await take_turns(SQLAlchemyOutbox.through(recorder), Watched.through(recorder))


async def test_a_table_in_a_schema_is_read_there(settings: dict[str, str]) -> None:
    with psycopg.connect(url_of(settings).replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA kept"))
    with ContentManagement({**settings, "SQLALCHEMY_SCHEMA": "kept"}) as app:
        write(app.recorder, 2)

        assert await read(outbox_of(app), count=2) == [1, 2]


async def test_a_database_that_can_not_be_reached_is_told_before_anything_is_opened(
    settings: dict[str, str],
) -> None:
    url = f"postgresql+psycopg://postgres@127.0.0.1:1/{uuid4().hex}"
    there = {**settings, "PERSISTENCE_MODULE": "eventsourcing_sqlalchemy"}

    await reach(ContentManagement, there)
    with pytest.raises(PostgresUnreachableError, match=r"127\.0\.0\.1:1"):
        await reach(ContentManagement, {**there, "SQLALCHEMY_URL": url})


def test_it_connects_to_what_the_url_names_as_libpq_does() -> None:
    url = "postgresql+psycopg://ann:p%40ss@there:5433/shop?sslmode=require&connect_timeout=3"
    datastore = SQLAlchemyDatastore(url=url)

    arguments = libpq_arguments(datastore)

    assert arguments == {
        "host": "there",
        "port": 5433,
        "user": "ann",
        "password": "p@ss",
        "dbname": "shop",
        "sslmode": "require",
        "connect_timeout": "3",
    }


def test_another_database_is_refused_with_what_would_have_to_be_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"PERSISTENCE_MODULE": MODULE, "SQLALCHEMY_URL": f"sqlite:///{tmp_path / 'wiki'}"}
    with ContentManagement(settings) as app:
        assert isinstance(app.recorder, SQLAlchemyApplicationRecorder)
        monkeypatch.setattr(engine_of(app.recorder.datastore).dialect, "name", "mssql")

        with pytest.raises(UnknownRecorderError, match="positions_are_in_commit_order = True"):
            outbox_of(app)


async def test_a_database_of_sqlites_that_somebody_else_has_at_first_is_waited_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "wiki.sqlite"
    stored = {"PERSISTENCE_MODULE": MODULE, "SQLALCHEMY_URL": f"sqlite:///{path}?timeout=0"}
    heads: list[int] = []
    health = LoopHealth()

    with ContentManagement(stored) as app, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")

        async def session(progressed: Callable[[], None]) -> None:
            heads.append(await outbox_of(app).head())
            progressed()

        async def is_lost() -> bool:
            return health.lost is not None

        async with anyio.create_task_group() as group:
            group.start_soon(retrying, "outbox", session, health)
            await until(is_lost)
            assert "database is locked" in str(health.lost)
            other.rollback()
    assert heads == [0]
