"""A session sets what it relies on, whatever a database, a role or a server sets for it."""

from datetime import timedelta
from typing import LiteralString

import anyio
import psycopg
import pytest
from psycopg import sql

from eventsourcing_kafka.compose.audit.audit import audit
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views import activity, fts
from eventsourcing_kafka.consumer.views.activity.queries import changes, contributors
from eventsourcing_kafka.consumer.views.fts.search import search
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.logs import message_of
from tests.pipeline import Pipeline

AWKWARD: dict[LiteralString, str] = {
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-10",
    "client_encoding": "LATIN1",
    "search_path": "nowhere",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "3s",
    "lock_timeout": "3s",
    "idle_session_timeout": "1s",
    "idle_in_transaction_session_timeout": "3s",
    "transaction_timeout": "3s",
}
"""All that a session might rely on, otherwise than it is made for."""


def make_awkward(postgres: Postgres, database: str) -> None:
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for name, value in AWKWARD.items():
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} TO {}").format(
                    sql.Identifier(database), sql.Identifier(name), value
                )
            )


async def test_a_database_that_can_not_hold_every_text_is_refused_and_asked_in_one_line(
    schemas: dict[str, str], postgres: Postgres, token: str
) -> None:
    latin = sql.SQL("CREATE DATABASE {} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").format(
        sql.Identifier(token)
    )
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute(latin)
        try:
            store = ViewStore.of(fts.VIEW, schemas | {"FTS_POSTGRES_DBNAME": token})
            async with store.connected() as session:
                with pytest.raises(SettingsError, match="has the encoding LATIN1"):
                    await store.prepare(session, 1)
                with pytest.raises(psycopg.DataError) as refused:
                    await session.execute("SELECT %s", ["\U0001f339"])
            assert "has no equivalent in" in message_of(refused.value)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(sql.Identifier(token)))


async def test_views_are_filled_and_read_whatever_their_databases_set(
    environment: dict[str, str], postgres: Postgres
) -> None:
    for view in ("FTS", "ACTIVITY"):
        make_awkward(postgres, environment[f"{view}_POSTGRES_DBNAME"])
    edits = ViewStore.of(activity.VIEW, environment)
    async with Pipeline(environment, consumers=0) as pipeline:
        consumer = pipeline.consumer()
        pipeline.start_consumer(consumer)
        pipeline.start_consumer(pipeline.consumer(edits))
        await pipeline.write("roses", "red \U0001f339\n")
        await pipeline.applied()
        await pipeline.applied(edits)
        assert [found.slug for found in await search(pipeline.store, "red")] == ["roses"]
        (latest, *_) = await changes(edits, 9)
        assert latest.changed_at.utcoffset() == timedelta(0)
        assert [who.edits for who in await contributors(edits, 9)] == [2]
        assert (await audit(environment)).success
        async with edits.connected() as session:
            for name in AWKWARD:
                if name.endswith("_timeout"):
                    cursor = await session.execute(sql.SQL("SHOW {}").format(sql.Identifier(name)))
                    assert await cursor.fetchone() == ("0",)
        await anyio.sleep(1.2)  # Longer than their sessions may be idle.
        await pipeline.write("violets", "blue\n")
        await pipeline.applied()
        assert consumer.health.restarts == 0
