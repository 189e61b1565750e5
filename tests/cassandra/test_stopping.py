"""A client stops before or behind each of its statements, and others go on."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import IntegrityError, OperationalError, StoredEvent

from eventsourcing_kafka.compose.servers.cassandra import Cassandra
from eventsourcing_kafka.producer.cassandra.datastore import FETCHED_ROWS, CassandraDatastore, Place
from eventsourcing_kafka.producer.cassandra.recorders import CassandraApplicationRecorder


class StoppedError(BaseException):
    """The client is no more."""


class Stopping(CassandraDatastore):
    """Stops before or behind a statement, or loses the answer of one that puts a row."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.left: int | None = None
        """Half statements until it stops."""
        self.lost = 0
        """Answers that are lost."""

    def one(self, statement: str, *parameters: Any) -> Any:
        self._step()
        row = super().one(statement, *parameters)
        self._step()
        if "INSERT" in statement and self.lost:
            self.lost -= 1
            raise OperationalError("no answer")
        return row

    def rows(self, statement: str, *parameters: Any, page: int = FETCHED_ROWS) -> Iterator[Any]:
        self._step()
        found = list(super().rows(statement, *parameters, page=page))
        self._step()
        return iter(found)

    def in_partitions(self, statement: str, parts: Sequence[Sequence[Sequence[Any]]]) -> None:
        """Do them one after the other, so that it may stop between."""
        for rows in parts:
            self._step()
            super().in_partitions(statement, [rows])
            self._step()

    def _step(self) -> None:
        if self.left is not None:
            if not self.left:
                raise StoppedError
            self.left -= 1


@pytest.fixture(scope="module")
def place(cassandra: Cassandra, keyspace: dict[str, str]) -> Place:
    return Place([keyspace["CASSANDRA_HOSTS"]], cassandra.port, keyspace["CASSANDRA_KEYSPACE"])


@pytest.fixture(scope="module")
def datastores(place: Place) -> Iterator[tuple[Stopping, CassandraDatastore]]:
    both = Stopping(place), CassandraDatastore(place)
    yield both
    for each in both:
        each.close()


@pytest.fixture
def tables(place: Place, token: str) -> tuple[str, str]:
    return place.table(f"{token}_events"), place.table(f"{token}_saves")


def event(originator_id: UUID, version: int) -> StoredEvent:
    return StoredEvent(originator_id, version, "some:topic", b"{}")


HALF_STATEMENTS = 14
"""Of a client that knows nothing: it finds the newest save, copies that, looks, puts, copies."""


def test_wherever_a_client_stops_a_save_is_there_as_a_whole_or_not_at_all(
    datastores: tuple[Stopping, CassandraDatastore], tables: tuple[str, str]
) -> None:
    stopping, datastore = datastores
    there = CassandraApplicationRecorder(datastore, *tables)
    there.create_table()
    saved = 0
    outcomes: set[bool] = set()
    for left in range(HALF_STATEMENTS * 2):
        rose, lily = uuid4(), uuid4()
        stopping.left = None
        client = CassandraApplicationRecorder(stopping, *tables)
        stopping.left = left
        try:
            client.insert_events([event(rose, 1), event(lily, 1)])
        except StoppedError:
            stopped = True
        else:
            stopped = False

        reader = CassandraApplicationRecorder(datastore, *tables)
        is_there = bool(reader.select_events(rose))
        assert bool(reader.select_events(lily)) == is_there
        assert is_there or stopped
        outcomes.add(is_there)
        saved += 2 if is_there else 0

        # Whoever comes next is refused, or not, and goes on behind it.
        if is_there:
            with pytest.raises(IntegrityError):
                there.insert_events([event(lily, 1)])
        else:
            assert there.insert_events([event(lily, 1)]) == [saved + 1]
            saved += 1
        if not stopped:
            break
    else:
        pytest.fail("it never came to its end")

    assert outcomes == {True, False}
    assert left > HALF_STATEMENTS
    found = reader.select_notifications(1, 10_000)
    assert [each.id for each in found] == list(range(1, saved + 1))


@pytest.mark.parametrize("answers", [1, 2])
def test_a_save_whose_answer_is_lost_is_there_once(
    datastores: tuple[Stopping, CassandraDatastore], tables: tuple[str, str], answers: int
) -> None:
    stopping, _ = datastores
    stopping.left = None
    client = CassandraApplicationRecorder(stopping, *tables)
    client.create_table()
    stopping.lost = answers

    assert client.insert_events([event(uuid4(), 1)]) == [1]
    assert client.insert_events([event(uuid4(), 1)]) == [2]
    assert client.max_notification_id() == 2


def test_where_the_answer_stays_away_it_is_said_that_it_is_not_known(
    datastores: tuple[Stopping, CassandraDatastore],
    tables: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopping, datastore = datastores
    stopping.left = None
    client = CassandraApplicationRecorder(stopping, *tables)
    client.create_table()
    monkeypatch.setattr("eventsourcing_kafka.producer.cassandra.saves.UNKNOWN_SECONDS", 0.1)
    monkeypatch.setattr(stopping, "lost", 1_000_000)
    rose = uuid4()

    with pytest.raises(OperationalError, match="It is not known whether the events are recorded"):
        client.insert_events([event(rose, 1)])

    another = CassandraApplicationRecorder(datastore, *tables)
    assert len(another.select_events(rose)) == 1
    with pytest.raises(IntegrityError):
        another.insert_events([event(rose, 1)])


CLIENTS, ATTEMPTS = 3, 12


def test_clients_that_save_at_once_take_turns_and_no_version_twice(
    datastores: tuple[Stopping, CassandraDatastore], tables: tuple[str, str]
) -> None:
    _, datastore = datastores
    CassandraApplicationRecorder(datastore, *tables).create_table()
    shared = [uuid4() for _ in range(2)]

    def save(_: int) -> int:
        """Try to be the next in both; each client is by itself, as in another process."""
        client = CassandraApplicationRecorder(datastore, *tables)
        won = 0
        for _ in range(ATTEMPTS):
            version = len(client.select_events(shared[0])) + 1
            try:
                client.insert_events([event(each, version) for each in shared])
                won += 1
            except IntegrityError:
                pass
        return won

    with ThreadPoolExecutor(CLIENTS) as pool:
        won = list(pool.map(save, range(CLIENTS)))

    reader = CassandraApplicationRecorder(datastore, *tables)
    total = sum(won)
    assert total >= ATTEMPTS
    for each in shared:
        versions = [found.originator_version for found in reader.select_events(each)]
        assert versions == list(range(1, total + 1))
    assert [each.id for each in reader.select_notifications(1, 999)] == list(
        range(1, 2 * total + 1)
    )
