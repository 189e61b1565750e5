"""Damage that is done on purpose is what it says, and is undone."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from tests.chaos.damage import delete_topics, earlier_copy, full_disk, put_back
from tests.pipeline import Pipeline, until


async def topics(broker: Kafka) -> set[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


async def make_topic(broker: Kafka, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1)])
    finally:
        await admin.close()


@pytest.mark.usefixtures("programs")
async def test_a_broker_comes_back_as_it_was_when_it_was_copied(tmp_path: Path) -> None:
    async with Kafka(tmp_path / "kafka") as broker:
        await make_topic(broker, "early")
        async with earlier_copy(broker) as put_back_copy:
            await make_topic(broker, "late")
            assert await topics(broker) >= {"early", "late"}
            await broker.kill()
            await put_back_copy()
            await broker.start()
            assert await topics(broker) & {"early", "late"} == {"early"}
        assert not (broker.data / "earlier").exists()


async def test_topics_are_deleted_and_what_is_not_there_is_left_at_that(
    kafka: Kafka, token: str
) -> None:
    await make_topic(kafka, token)
    await delete_topics(kafka.bootstrap_servers, [token, f"{token}.not-there"])

    async def is_gone() -> bool:
        return token not in await topics(kafka)

    await until(is_gone)


async def test_a_view_takes_nothing_while_its_disk_is_full(
    postgres: Postgres, database: Callable[[str], str]
) -> None:
    dsn = postgres.dsn(database("view"))
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as view:
        await view.execute("CREATE SCHEMA fts CREATE TABLE pages (id integer)")
        async with full_disk(dsn, "fts", "pages") as full:
            assert full
            with pytest.raises(psycopg.errors.DiskFull):
                await view.execute("INSERT INTO fts.pages VALUES (1)")
            await view.execute("ALTER SCHEMA fts RENAME TO fts_kept")  # as a rebuild does
        await view.execute("INSERT INTO fts_kept.pages VALUES (1)")
        async with full_disk(dsn, "fts", "pages") as full:
            assert not full


async def test_a_write_model_is_put_back_and_forward_again(
    environment: dict[str, str], postgres: Postgres
) -> None:
    dsn = postgres.dsn(environment["CONTENTMANAGEMENT_POSTGRES_DBNAME"])
    async with Pipeline(environment, consumers=0, relay=False) as pipeline:
        await pipeline.write("page", "one\n", "two\n")
        whole = await notifications(pipeline)
        async with put_back(dsn, 2) as shorter:
            assert shorter
            assert await notifications(pipeline) == whole[:-2]
            await pipeline.write("other", "written meanwhile\n")
        assert await notifications(pipeline) == whole
        await pipeline.write("next")
        positions = [position for position, *_ in await notifications(pipeline)]
        assert positions[: len(whole)] == [position for position, *_ in whole]
        assert positions == sorted(set(positions))


async def test_a_write_model_that_is_put_back_and_grows_has_other_events_where_there_were_some(
    environment: dict[str, str], postgres: Postgres
) -> None:
    dsn = postgres.dsn(environment["CONTENTMANAGEMENT_POSTGRES_DBNAME"])
    async with Pipeline(environment, consumers=0, relay=False) as pipeline:
        await pipeline.write("page", "one\n", "two\n")
        before = await notifications(pipeline)
        async with await psycopg.AsyncConnection.connect(dsn) as killed_writer:
            await killed_writer.execute(TAKE_POSITION)
        await pipeline.write("page after a hole", "one\n")
        whole = await notifications(pipeline)
        count = len(whole) - len(before)
        async with put_back(dsn, count, grown=True):
            grown = await notifications(pipeline)
            assert grown[: len(before)] == before
            assert len(grown) == len(before) + 2 * count
            assert grown[-1] > whole[-1]
            assert not set(grown[len(before) :]) & set(whole)
        assert await notifications(pipeline) == whole


TAKE_POSITION = """
    SELECT nextval(pg_get_serial_sequence('contentmanagement_events', 'notification_id'))
"""


async def notifications(pipeline: Pipeline) -> list[tuple[int, str, int]]:
    found = await pipeline.do(pipeline.wiki.recorder.select_notifications, 1, 1000)
    return [(each.id, str(each.originator_id), each.originator_version) for each in found]
