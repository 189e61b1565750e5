"""A session sets what it relies on, whatever a database, a role or a server sets for it."""

from datetime import timedelta
from typing import LiteralString

import anyio
import psycopg
from psycopg import sql

from eventsourcing_kafka.compose.audit.audit import audit
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views import activity
from eventsourcing_kafka.consumer.views.activity.queries import changes, contributors
from eventsourcing_kafka.consumer.views.fts.search import search
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
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_session_timeout": "300ms",
    "idle_in_transaction_session_timeout": "1ms",
    "transaction_timeout": "2ms",
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
        await anyio.sleep(0.7)  # Longer than their sessions may be idle.
        await pipeline.write("violets", "blue\n")
        await pipeline.applied()
        assert consumer.health.restarts == 0
