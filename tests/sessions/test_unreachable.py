"""Who can't reach or enter a server says which, where and why, within two seconds."""

import logging
import socket
from collections.abc import Iterator
from functools import partial

import anyio
import anyio.lowlevel
import psycopg
import pytest
from anyio import to_thread
from eventsourcing.application import Application
from eventsourcing.persistence import OperationalError
from eventsourcing.postgres import PostgresApplicationRecorder

from eventsourcing_kafka.compose.runner.system import KafkaRunner
from eventsourcing_kafka.compose.servers.processes import HOST, free_port
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.health import ViewHealth
from eventsourcing_kafka.consumer.operations.status import read_status
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.applications import open_application, reach
from eventsourcing_kafka.producer.runtime.health import Down, read_or_down
from eventsourcing_kafka.producer.runtime.logs import message_of
from eventsourcing_kafka.producer.runtime.postgres import PostgresUnreachableError, server_cursor
from eventsourcing_kafka.producer.runtime.retry import describe
from eventsourcing_kafka.producer.runtime.servers import UnreachableError
from examples.counters.system import system
from tests.pipeline import until

WITHIN_SECONDS = 2.0
SECRET = "wrong-secret"
IN_POSTGRES = {"PERSISTENCE_MODULE": "eventsourcing.postgres"}
SLOW = "SET statement_timeout TO 1; SELECT pg_sleep(10)"


@pytest.fixture
def settings(schemas: dict[str, str]) -> dict[str, str]:
    """The settings of views on a server that is there, and of a Kafka that is not."""
    return {**schemas, "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{free_port()}"}


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections, and answers nothing."""
    with socket.create_server((HOST, 0)) as listening:
        yield listening.getsockname()[1]


WRONG = {
    "password": (
        {"POSTGRES_PASSWORD": SECRET},
        'password authentication failed for user "postgres"',
    ),
    "database": ({"FTS_POSTGRES_DBNAME": "nope"}, 'database "nope" does not exist'),
    "port": ({"POSTGRES_PORT": "1"}, "Connection refused"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_postgres_is_named_with_where_and_why_and_no_password(
    settings: dict[str, str], wrong: str
) -> None:
    changed, why = WRONG[wrong]
    settings |= changed
    where = f"{HOST}:{settings['POSTGRES_PORT']}/{settings['FTS_POSTGRES_DBNAME']}"
    store = ViewStore.of(VIEW, settings)

    with anyio.fail_after(WITHIN_SECONDS), pytest.raises(PostgresUnreachableError) as refused:
        async with store.connected():
            pass

    assert str(refused.value) == f"Postgres at {where}: {why}"
    down = await read_or_down(partial(reach, VIEW, settings))  # type: ignore[arg-type]
    assert down == Down(str(refused.value))


async def test_a_pool_says_why_it_has_no_connection(settings: dict[str, str]) -> None:
    store = ViewStore.of(VIEW, settings | {"POSTGRES_PASSWORD": SECRET})
    async with store.kept_open(1):
        with pytest.raises(PostgresUnreachableError, match="password authentication failed"):
            async with store.connected():
                pass


END_OURS = "SELECT pg_terminate_backend(pg_backend_pid())"


async def test_a_session_that_is_lost_and_a_statement_that_takes_too_long_say_where(
    settings: dict[str, str],
) -> None:
    store = ViewStore.of(VIEW, settings)
    where = f"Postgres at {HOST}:{settings['POSTGRES_PORT']}/{settings['FTS_POSTGRES_DBNAME']}"
    with pytest.raises(psycopg.OperationalError) as lost:
        async with store.connected() as session:
            await session.execute(END_OURS)
    why = f"{where}: terminating connection due to administrator command"
    assert describe(lost.value) == why

    settings |= {"POSTGRES_DBNAME": settings["FTS_POSTGRES_DBNAME"], "CREATE_TABLE": "no"}
    with open_application(Application, settings | IN_POSTGRES) as app:
        recorder = app.recorder
        assert isinstance(recorder, PostgresApplicationRecorder)
        for sql, said in (
            (END_OURS, why),
            (SLOW, f"{where}: canceling statement due to statement timeout"),
        ):
            with (
                pytest.raises(OperationalError) as of_the_library,
                recorder.datastore.get_connection() as connection,
            ):
                connection.execute(sql)
            assert message_of(of_the_library.value) == said


async def test_a_cursor_at_the_server_is_closed_when_its_reader_is_cancelled(
    settings: dict[str, str],
) -> None:
    store = ViewStore.of(VIEW, settings)
    async with store.connected() as session, session.transaction():
        with anyio.CancelScope() as reading:
            async with server_cursor(session, "rows") as cursor:
                await cursor.execute("SELECT generate_series(1, 9)")
                reading.cancel()
                await anyio.lowlevel.checkpoint()
        assert cursor.closed
        assert (await (await session.execute("SELECT 1")).fetchone()) == (1,)


async def test_a_runner_does_not_wait_for_a_database_that_refuses_it(
    settings: dict[str, str],
) -> None:
    name = settings["FTS_POSTGRES_DBNAME"]
    wrong = settings | {"POSTGRES_DBNAME": name, "POSTGRES_PASSWORD": SECRET}
    with anyio.fail_after(WITHIN_SECONDS):
        with pytest.raises(PostgresUnreachableError, match=f"/{name}: password authentication"):
            await to_thread.run_sync(KafkaRunner, system, wrong)


async def test_a_consumer_waits_for_kafka_and_its_health_and_its_status_say_the_same(
    settings: dict[str, str],
) -> None:
    kafka = KafkaSettings.from_env(settings)
    store = ViewStore.of(VIEW, settings)
    consumer = Consumer(store, kafka)
    why = f"Kafka at {kafka.bootstrap_servers}: Connection refused"

    async def is_waiting() -> bool:
        return consumer.health.lost is not None

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consumer.run)
        with anyio.fail_after(WITHIN_SECONDS):
            await until(is_waiting)
        report = await ViewHealth(consumer, kafka).report()
        assert report.why == [
            f"waiting for its server: {why}",
            f"its true head can't be read: {why}",
        ]
        tasks.cancel_scope.cancel()
    with pytest.raises(UnreachableError) as refused:
        await read_status(store, kafka)
    assert str(refused.value) == why


async def test_who_does_not_answer_is_named_while_it_is_waited_for(
    settings: dict[str, str], silent: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    postgres = ViewStore.of(VIEW, settings | {"POSTGRES_PORT": str(silent)})
    kafka = KafkaSettings(bootstrap_servers=f"{HOST}:{silent}")
    where = f"Postgres at {HOST}:{silent}/{settings['FTS_POSTGRES_DBNAME']}"

    async def connect() -> None:
        async with postgres.connected():
            pass

    found = await read_or_down(connect, WITHIN_SECONDS)
    assert found == Down(f"no answer from {where} within 2 s")
    down = await read_or_down(partial(read_status, postgres, kafka), WITHIN_SECONDS)
    assert down == Down(f"no answer from Kafka at {HOST}:{silent} within 2 s")
    assert [record.message for record in caplog.records if "yet" in record.message] == [
        f"no answer from {where} yet: waiting for it",
        f"no answer from Kafka at {HOST}:{silent} yet: waiting for it",
    ]
