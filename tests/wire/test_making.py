"""Processes that make their applications at once come into each other's way, and get by."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import DatabaseError, InternalError, OperationalError
from psycopg.errors import DeadlockDetected

from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from eventsourcing_kafka.producer.runtime.construct import construct


def deadlock() -> DatabaseError:
    error = OperationalError()
    error.__cause__ = DeadlockDetected()
    return error


def failing(*errors: Exception) -> type[Application[UUID]]:
    """Return an application that can't be made at first."""
    left = list(errors)

    class Late(Application[UUID]):
        def __init__(self, env: Mapping[str, str] | None = None) -> None:
            if left:
                raise left.pop()
            super().__init__(env)

    return Late


def test_an_application_is_made_though_another_one_came_in_the_way() -> None:
    construct(failing(InternalError("tuple concurrently updated"), deadlock()), {}).close()


@pytest.mark.parametrize("error", [OperationalError("it is not there"), ValueError()])
def test_what_is_wrong_with_it_is_raised_at_once(error: Exception) -> None:
    with pytest.raises(type(error)):
        construct(failing(error), {})


def test_of_one_that_can_not_be_made_no_session_is_left(
    postgres: Postgres, shared_database: str
) -> None:
    pools: list[Any] = []

    class Cut(Application[UUID]):
        """Its database goes when its tables are there."""

        def construct_event_store(self) -> Any:
            pools.append(self.factory.datastore.pool)  # type: ignore[attr-defined]
            assert not pools[0].closed
            raise OperationalError

    with pytest.raises(OperationalError):
        construct(Cut, postgres_environment(postgres, {"CUT": shared_database}))
    assert pools[0].closed
