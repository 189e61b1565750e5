"""Who has the rights of a rebuild makes a view as it was, and who may read the view reads it."""

from collections.abc import Collection

import psycopg
import pytest
from psycopg import sql

from eventsourcing_kafka.compose.security.grants import grants
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.as_of import ViewAsOf, drop_generation, generations
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.consumer.views.fts.search import search
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from tests.operations.counted import last_position
from tests.pipeline import Pipeline

OWNER, READER = "fts", "fts_reader"


async def granted(store: ViewStore, environment: dict[str, str]) -> None:
    """Make the roles, and give them what they need of the view's database."""
    async with store.connected() as connection:
        for grant in grants(ContentManagement, [VIEW], environment, rebuild=True):
            if grant.database == connection.info.dbname and b"fts" in grant.statement.as_bytes():
                await connection.execute(grant.statement)
        for role in (OWNER, READER):
            await connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(environment["POSTGRES_PASSWORD"])
                )
            )


async def forget(store: ViewStore, roles: Collection[str]) -> None:
    async with store.connected() as connection:
        for role in roles:
            for statement in ("DROP OWNED BY {} CASCADE", "DROP ROLE {}"):
                await connection.execute(sql.SQL(statement).format(sql.Identifier(role)))


async def test_a_reader_of_the_view_reads_it_as_it_was_and_changes_nothing(
    environment: dict[str, str],
) -> None:
    owner, reader = (
        ViewStore.of(VIEW, {**environment, "FTS_POSTGRES_USER": role}) for role in (OWNER, READER)
    )
    async with Pipeline(environment, consumers=0) as pipeline:
        await granted(pipeline.store, environment)
        try:
            consumer = pipeline.start_consumer(pipeline.consumer(owner))
            await pipeline.write("page", "word\n")
            await pipeline.settled()
            head = await pipeline.do(last_position, pipeline.wiki)
            past = await ViewAsOf(owner, pipeline.settings, head).run(lambda _: None)

            assert [each.schema for each in await generations(reader)] == [past.schema]
            assert len(await search(reader.as_of(head), "word")) == 1
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await drop_generation(reader, past.schema)
            await drop_generation(owner, past.schema)
            await consumer.stop()
        finally:
            await forget(pipeline.store, (READER, OWNER))
