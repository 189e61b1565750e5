"""What an application's aggregates are at the beginning of a batch: as they are stored."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from psycopg import sql

from eventsourcing_kafka.consumer.hosting.postgres.database import LibraryDatabase
from eventsourcing_kafka.consumer.hosting.postgres.host import PostgresHost
from eventsourcing_kafka.consumer.unit_of_work import Place
from examples.dogschool.domainmodel import Dog

from .tallying import Left, Tally

TRICK = "roll over"


class Observed(Left):
    """Shows the tallies that it was given."""

    name = "left"

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__(env)
        self.given: list[Tally] = []

    def incremented(self, name: str) -> Tally:
        self.given.append(super().incremented(name))
        return self.given[-1]


@pytest.fixture
def left(env: dict[str, str]) -> Iterator[Observed]:
    with Observed({**env, "POSTGRES_POOL_SIZE": "1"}) as left:
        yield left


@pytest.fixture
def other(env: dict[str, str]) -> Iterator[Left]:
    """Somebody else who records in the same tables."""
    with Left(env) as other:
        yield other


@pytest.fixture
def host(left: Observed) -> PostgresHost:
    recorder: Any = left.recorder
    return PostgresHost(left, recorder, LibraryDatabase(recorder.datastore), "DogSchool")


@pytest.fixture
async def connection(host: PostgresHost) -> AsyncIterator[Any]:
    async with host.connected() as connection:
        yield connection


class UndoneError(Exception):
    """Ends a batch when it is written."""


async def apply(host: PostgresHost, connection: Any, position: int, *, undone: bool = False) -> int:
    """Count the trick in a batch of one event, and return up to where it is counted then."""
    dog = Dog("Billy")
    dog.add_trick(TRICK)
    async with connection.transaction():
        unit: Any = host.unit_of_work("")
        await unit.read(connection, (), ())
        unit.apply(dog.pending_events[-1], Place(0, position))
        await unit.write(connection)
        if undone:
            raise UndoneError
    follower: Any = host._follower
    return int(follower.given[-1].count)


async def test_an_aggregate_is_kept_from_one_batch_to_the_next(
    host: PostgresHost, connection: Any, left: Observed, other: Left
) -> None:
    assert [await apply(host, connection, position) for position in (1, 2, 3)] == [1, 2, 3]

    assert left.given[0] is left.given[1] is left.given[2]
    assert other.count(TRICK) == 3


async def test_what_somebody_else_has_recorded_meanwhile_is_seen(
    host: PostgresHost, connection: Any, other: Left
) -> None:
    await apply(host, connection, 1)
    other.save(other.incremented(TRICK))

    assert await apply(host, connection, 2) == 3
    assert other.count(TRICK) == 3


async def test_what_somebody_else_has_recorded_instead_is_seen(
    host: PostgresHost, connection: Any, left: Observed, other: Left
) -> None:
    await apply(host, connection, 1)
    recorder: Any = left.recorder
    await connection.execute(
        sql.SQL("DELETE FROM {} WHERE originator_id = %s AND originator_version = 2").format(
            sql.Identifier(recorder.events_table_name)
        ),
        [Tally.create_id(TRICK)],
    )
    other.save(other.incremented(TRICK))

    assert await apply(host, connection, 2) == 2
    assert left.given[0] is not left.given[1]


async def test_nothing_is_kept_of_what_was_undone(
    host: PostgresHost, connection: Any, left: Observed, other: Left
) -> None:
    with pytest.raises(UndoneError):
        await apply(host, connection, 1, undone=True)
    assert not host._aggregates.kept

    assert await apply(host, connection, 1) == 1
    assert left.given[0] is not left.given[1]
    assert other.count(TRICK) == 1
