"""A unit of work that keeps an error of Postgres to itself: nothing of its transaction is there."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from examples.dogschool.application import DogSchool

from .stores import Following, TricksUnitOfWork, made


class KeepingUnitOfWork(TricksUnitOfWork):
    async def write(self, connection: AsyncConnection[Any]) -> None:
        await super().write(connection)
        if any(trick == "keep" for _, trick in self._times):
            with suppress(psycopg.DataError):
                cursor = await connection.execute("SELECT 1 / 0")
                await cursor.fetchone()


@pytest.mark.parametrize("sent_ahead", [True, False])
async def test_an_error_that_is_kept_parks_its_event_and_no_other(
    postgres: Postgres, database: Callable[[str], str], sent_ahead: bool
) -> None:
    env = postgres_environment(postgres, {"SYSTEM": database("system")})
    store = await made(env, unit_of_work=KeepingUnitOfWork, sent_ahead=sent_ahead)
    with DogSchool() as school:
        following = Following(store, school, int)
        following.teach(0, "sit", "keep")
        following.teach(1, "roll")

        await following.catch_up()

        assert await following.counts() == {"sit": 1, "roll": 1}
        (parked,) = await following.parked()
        assert "InFailedSqlTransaction" in parked.reason
        assert (await following.seen())[0].offset == len(following.topic[0])
