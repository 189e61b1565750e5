"""A program that reads a view a lot keeps its connections open."""

from uuid import uuid4

import anyio

from eventsourcing_kafka.consumer.views.fts.reading import read_page
from tests.pipeline import WithoutKafka, write_page

READS = 20
"""More than it takes until psycopg has a statement prepared."""

END_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'fts' AND pid <> pg_backend_pid()
"""

# What a rebuild does at its end: the tables of another schema are the view's from now on.
SWAP = (
    "CREATE SCHEMA {schema}_next",
    "CREATE TABLE {schema}_next.pages AS SELECT *, 'new' AS other FROM {schema}.pages",
    "CREATE TABLE {schema}_next.parked AS TABLE {schema}.parked",
    "CREATE TABLE {schema}_next.tracking AS TABLE {schema}.tracking",
    "UPDATE {schema}_next.pages SET title = 'Filled anew'",
    "ALTER SCHEMA {schema} RENAME TO {schema}_aside",
    "ALTER SCHEMA {schema}_next RENAME TO {schema}",
)


async def test_reads_share_the_connections_and_lost_ones_are_replaced(
    schemas: dict[str, str],
) -> None:
    async with WithoutKafka(schemas) as shortcut:
        page_id = write_page(shortcut.wiki, "page", "text")
        await shortcut.catch_up()

        async def read() -> None:
            page = await read_page(shortcut.store, page_id)
            assert page
            assert page.body == "text"

        async with shortcut.store.kept_open(2):
            async with anyio.create_task_group() as tasks:
                for _ in range(READS):
                    tasks.start_soon(read)
            ended = await shortcut.connection.execute(END_OTHERS)
            assert 1 <= ended.rowcount <= 2
            await read()


async def test_who_waits_for_a_position_does_not_keep_a_connection_from_readers(
    schemas: dict[str, str],
) -> None:
    async with WithoutKafka(schemas) as shortcut, shortcut.store.kept_open(1):
        page_id = write_page(shortcut.wiki, "page", "text")
        position = shortcut.wiki.recorder.max_notification_id()
        assert position
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(shortcut.store.wait, position, page_id)
            await shortcut.listened()
            assert not await shortcut.store.has(position, page_id)
            assert await read_page(shortcut.store, uuid4()) is None
            await shortcut.catch_up()
        assert await shortcut.store.has(position, page_id)


async def test_what_is_kept_open_reads_the_generation_that_is_active(
    schemas: dict[str, str],
) -> None:
    async with WithoutKafka(schemas) as shortcut, shortcut.store.kept_open(1):
        page_id = write_page(shortcut.wiki, "page", "text")
        await shortcut.catch_up()
        for _ in range(READS):
            page = await read_page(shortcut.store, page_id)
            assert page
            assert page.title == "Page"
        for statement in SWAP:
            named = statement.replace("{schema}", shortcut.store.schema)
            await shortcut.connection.execute(named.encode())
        page = await read_page(shortcut.store, page_id)
        assert page
        assert page.title == "Filled anew"
