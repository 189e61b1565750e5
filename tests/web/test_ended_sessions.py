"""Whoever ends the sessions of the wiki in Postgres, its pages are there at the first try."""

import logging

import psycopg
import pytest

from eventsourcing_kafka.compose.servers.postgres import Postgres
from tests.web.browser import served

END = """
    SELECT pg_terminate_backend(pid, 5000)
      FROM pg_stat_activity
     WHERE datname = ANY(%s) AND pid <> pg_backend_pid()
"""
PAGES = ("/", "/wiki/roses", "/search?q=red", "/contributors", "/api/pages", "/wiki/roses/history")


async def test_the_first_pages_after_all_sessions_were_ended_are_there(
    environment: dict[str, str], postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "psycopg.pool")
    databases = [value for name, value in environment.items() if name.endswith("_DBNAME")]
    # With some of them lost at once, which are found one after the other.
    async with served(environment | {"POSTGRES_POOL_SIZE": "5"}) as (pipeline, ann, _):
        await pipeline.write("roses", "red\n")
        await pipeline.settled()
        before = [(await ann.get(page)).status_code for page in PAGES]
        with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
            assert connection.execute(END, [databases]).fetchall()
        assert [(await ann.get(page)).status_code for page in PAGES] == before
        assert before.count(200) >= 4
    lost = [each for each in caplog.messages if "failed check" in each]
    assert 1 <= len(lost) <= len(databases)  # Each pool waits longer after each.
