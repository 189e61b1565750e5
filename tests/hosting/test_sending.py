"""What is sent ahead of its answers in a batch is answered as anywhere, once somebody asks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from eventsourcing.persistence import IntegrityError, Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresFactory, PostgresTrackingRecorder
from eventsourcing.utils import Environment
from psycopg import Connection, errors
from psycopg.pq import PipelineStatus, TransactionStatus

from eventsourcing_kafka.consumer.engine.refusals import PartlyAppliedError
from eventsourcing_kafka.consumer.hosting.postgres.collecting import collected_tracking
from eventsourcing_kafka.consumer.hosting.postgres.database import LibraryDatabase, Undivided
from eventsourcing_kafka.consumer.hosting.postgres.host import ProjectingUnitOfWork
from eventsourcing_kafka.consumer.hosting.threads import BlockingConnection
from eventsourcing_kafka.consumer.unit_of_work import Place


@pytest.fixture
def recorder(env: dict[str, str]) -> Iterator[PostgresTrackingRecorder]:
    with PostgresFactory(Environment("squeamish", env)) as factory:
        yield factory.tracking_recorder()


@pytest.fixture
def way(recorder: PostgresTrackingRecorder) -> LibraryDatabase:
    return LibraryDatabase(recorder.datastore)


@pytest.fixture
def connection(way: LibraryDatabase) -> Iterator[Connection[Any]]:
    """A connection in the transaction of a batch, in which there is a table."""
    with way.connected() as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE TEMPORARY TABLE counts (times integer PRIMARY KEY)")
        yield connection


@pytest.fixture
def lent(request: pytest.FixtureRequest, way: LibraryDatabase) -> Iterator[Undivided]:
    request.getfixturevalue("connection")
    with way.undivided() as lent:
        yield lent


def is_sent_ahead(connection: Connection[Any]) -> bool:
    return connection.pgconn.pipeline_status != PipelineStatus.OFF


def test_rows_and_their_number_are_those_of_the_statement(
    lent: Undivided, connection: Connection[Any]
) -> None:
    with lent.cursor() as cursor:
        assert cursor.execute("INSERT INTO counts VALUES (1), (2), (3)").rowcount == 3
        assert cursor.execute("UPDATE counts SET times = times + 10").rowcount == 3
        lent.execute("DELETE FROM counts WHERE times = %s", [12])
        rows = cursor.execute("SELECT times FROM counts ORDER BY times")
        assert [row["times"] for row in rows] == [11, 13]
        cursor.row_factory = tuple_of_one
        assert cursor.execute("SELECT 7 AS seven").fetchall() == [(7,)]
    assert is_sent_ahead(connection)


def tuple_of_one(_cursor: Any) -> Any:
    return tuple


def test_more_than_a_socket_takes_at_once_is_answered(lent: Undivided) -> None:
    def ask() -> Any:
        cursor = lent.execute("SELECT length(%s) AS length", ["x" * 50_000_000])
        return cursor.fetchall()

    with ThreadPoolExecutor() as threads:
        asked = threads.submit(ask)
        try:
            assert asked.result(30) == [{"length": 50_000_000}]
        except TimeoutError:
            lent.pgconn.finish()  # Or it would be waited for, for ever.
            raise


def copy(lent: Undivided) -> None:
    with lent.cursor() as cursor, cursor.copy("COPY counts FROM STDIN") as copied:
        copied.write_row([1])


def execute_many(lent: Undivided) -> None:
    lent.cursor().executemany("INSERT INTO counts VALUES (%s)", [[1]])


def insert_and_ask(lent: Undivided) -> None:
    lent.execute("INSERT INTO counts VALUES (1)")
    with lent.transaction(force_rollback=True):
        lent.execute("DELETE FROM counts")


def insert_and_scroll(lent: Undivided) -> None:
    lent.execute("INSERT INTO counts VALUES (1)")
    with lent.cursor("at_the_server") as cursor:
        assert len(cursor.execute("SELECT * FROM counts").fetchall()) == 1


@pytest.mark.parametrize("work", [copy, execute_many, insert_and_ask, insert_and_scroll])
def test_what_can_not_be_sent_ahead_is_done_as_on_any_connection(
    work: Any, lent: Undivided, connection: Connection[Any]
) -> None:
    work(lent)

    assert not is_sent_ahead(connection)
    counts = lent.execute("SELECT times FROM counts").fetchall()
    assert [row["times"] for row in counts] == [1]


def divide_by_zero(lent: Undivided) -> None:
    lent.execute("SELECT 1 / 0")
    lent.execute("INSERT INTO counts VALUES (1)")
    lent.execute("SELECT").fetchall()


def test_an_error_that_was_seen_and_recovered_from_is_a_failure_all_the_same(
    lent: Undivided, connection: Connection[Any]
) -> None:
    lent.execute("SAVEPOINT mine")
    with pytest.raises(errors.DivisionByZero):
        divide_by_zero(lent)
    with suppress(errors.PipelineAborted):  # What came after it was skipped.
        lent.receive()
    lent.execute("ROLLBACK TO mine")
    lent.wait_for_each()

    assert connection.info.transaction_status == TransactionStatus.INTRANS
    assert isinstance(lent.failure, errors.DivisionByZero)


def test_each_statement_is_waited_for_once_some_were_refused(
    way: LibraryDatabase, connection: Connection[Any]
) -> None:
    several = "SELECT 1; SELECT 2"  # Only one at a time can be sent ahead.
    with (
        pytest.raises(errors.SyntaxError),
        connection.transaction(),
        way.undivided() as lent,
    ):
        lent.execute(several)
    with way.undivided() as lent:
        lent.execute(several)
        assert not is_sent_ahead(connection)
    assert lent.failure is None


class Silent:
    """Keeps to itself what the database says."""

    def __init__(self, datastore: PostgresDatastore) -> None:
        self._datastore = datastore

    def process_event(self, _domain_event: Any, _tracking: Tracking) -> None:
        with suppress(Exception), self._datastore.get_connection() as connection:
            connection.execute("SELECT 1 / 0")


async def apply_and_write(unit: ProjectingUnitOfWork, event: Any, connection: Any) -> None:
    unit.apply(event, Place(0, 1))
    await unit.write(connection)


@pytest.mark.parametrize("sends_ahead", [True, False])
async def test_what_an_event_has_kept_to_itself_is_found_before_the_batch_is_committed(
    sends_ahead: bool,
    way: LibraryDatabase,
    recorder: PostgresTrackingRecorder,
    connection: Connection[Any],
) -> None:
    way.sends_ahead = sends_ahead
    unit = ProjectingUnitOfWork(Silent(recorder.datastore), recorder, way, "School", apart=False)
    event: Any = None

    await unit.read(BlockingConnection(connection), (), [event, event])
    with pytest.raises(PartlyAppliedError):
        await apply_and_write(unit, event, connection)
    assert not is_sent_ahead(connection)


def test_a_batch_is_tracked_once_at_its_end(recorder: PostgresTrackingRecorder) -> None:
    with collected_tracking(recorder):
        for position in (1, 3):
            recorder.insert_tracking(Tracking("School:0", position))
        recorder.insert_tracking(Tracking("School:1", 2))
        assert recorder.max_tracking_id("School:0") == 3
        with pytest.raises(IntegrityError):
            recorder.insert_tracking(Tracking("School:0", 3))
    assert [recorder.max_tracking_id(f"School:{number}") for number in (0, 1)] == [3, 2]

    with pytest.raises(IntegrityError), collected_tracking(recorder):
        recorder.insert_tracking(Tracking("School:1", 2))


def track_and_fail(recorder: PostgresTrackingRecorder) -> None:
    with collected_tracking(recorder):
        recorder.insert_tracking(Tracking("School:0", 1))
        raise LookupError


def test_nothing_of_a_batch_that_fails_is_tracked(recorder: PostgresTrackingRecorder) -> None:
    with pytest.raises(LookupError):
        track_and_fail(recorder)
    assert recorder.max_tracking_id("School:0") is None
    recorder.insert_tracking(Tracking("School:0", 1))
    assert recorder.max_tracking_id("School:0") == 1


class Logging(PostgresTrackingRecorder):
    """Does more than to track."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logged: list[Tracking] = []

    def _insert_tracking(self, curs: Any, tracking: Tracking) -> None:
        self.logged.append(tracking)
        super()._insert_tracking(curs, tracking)


def test_a_view_that_does_more_than_to_track_does_so_at_each_event(env: dict[str, str]) -> None:
    with PostgresFactory(Environment("squeamish", env)) as factory:
        recorder = factory.tracking_recorder(Logging)
        recorder.logged.clear()
        with collected_tracking(recorder):
            recorder.insert_tracking(Tracking("School:0", 1))
            assert recorder.logged == [Tracking("School:0", 1)]
