"""A follower, kept in each place where one can be."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from tests.hosting.nursing import Patient
from tests.layers import on

from .stores import PARTITIONS, Following, hosted, viewed

STORES = [
    on("a view in Postgres", needs={"postgres"}),
    on("a view in Postgres, sent ahead", needs={"postgres"}),
    on("hosted on Postgres", needs={"postgres"}),
    "hosted on SQLite",
    "hosted in memory",
]


@pytest.fixture(params=STORES)
async def following(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Following]:
    """A follower, kept in each place."""
    match request.param:
        case "a view in Postgres" | "a view in Postgres, sent ahead" | "hosted on Postgres" as kept:
            postgres: Postgres = request.getfixturevalue("postgres")
            database: Callable[[str], str] = request.getfixturevalue("database")
            env = postgres_environment(postgres, {"SYSTEM": database("system")})
            opened = (
                hosted(env)
                if kept == "hosted on Postgres"
                else viewed(env, sent_ahead="sent ahead" in kept)
            )
        case "hosted on SQLite":
            opened = hosted(
                {
                    "PERSISTENCE_MODULE": "eventsourcing.sqlite",
                    "SQLITE_DBNAME": str(tmp_path / "patient"),
                }
            )
        case _:
            opened = hosted({})
    with opened as following:
        async with following.store.working({}) as connection:
            await following.store.run(following.store.prepare, connection, PARTITIONS)
        yield following
    Patient.meanwhile.clear()
