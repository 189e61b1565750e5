"""The library's own test cases for recorders and applications, and what they do not try."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any
from uuid import UUID, uuid4

import pytest
from anyio.from_thread import BlockingPortal
from eventsourcing.persistence import (
    InfrastructureFactory,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
)
from eventsourcing.tests import application, persistence
from eventsourcing.utils import Environment, get_topic

from eventsourcing_kafka.compose.servers.cassandra import Cassandra, cassandra_environment
from eventsourcing_kafka.producer.cassandra import CassandraFactory, recorders, saves
from eventsourcing_kafka.producer.cassandra import factory as factory_module
from eventsourcing_kafka.producer.cassandra.datastore import CassandraDatastore, Place
from eventsourcing_kafka.producer.cassandra.recorders import CassandraApplicationRecorder
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from tests.layers import CASSANDRA

Settings = dict[str, str]


class OnTables:
    """Sets a test case of the library's on tables of its own."""

    factory: InfrastructureFactory[Any]

    @pytest.fixture(autouse=True)
    def on_tables(self, keyspace: Settings, token: str) -> Iterator[None]:
        with InfrastructureFactory[Any].construct(Environment(token, keyspace)) as self.factory:
            yield


@pytest.mark.usefixtures(CASSANDRA)
class TestAggregates(OnTables, persistence.AggregateRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.factory.aggregate_recorder()

    test_performance: Any = None


@pytest.mark.usefixtures(CASSANDRA)
class TestApplications(OnTables, persistence.ApplicationRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.factory.application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()

    @pytest.mark.usefixtures("programs")
    def test_concurrent_no_conflicts(self, initial_position: int = 0) -> None:  # noqa: PT028
        """It saves ten thousand events: among the slow ones it holds up nobody."""
        super().test_concurrent_no_conflicts(initial_position)

    test_performance: Any = None
    test_concurrent_throughput: Any = None


class InTheEnvironment:
    """Sets a test case of the library's in a keyspace of its own: its applications share names."""

    @pytest.fixture(autouse=True)
    def in_the_environment(
        self,
        portal: BlockingPortal,
        cassandra: Cassandra,
        token: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[None]:
        portal.call(cassandra.create_keyspace, token)
        for name, value in cassandra_environment(cassandra, token).items():
            monkeypatch.setenv(name, value)
        with ExitStack() as exits:

            def connect(place: Place) -> CassandraDatastore:
                return exits.enter_context(closing(CassandraDatastore(place)))

            monkeypatch.setattr(factory_module, "CassandraDatastore", connect)
            yield


@pytest.mark.usefixtures(CASSANDRA)
class TestExampleApplication(InTheEnvironment, application.ExampleApplicationTestCase):
    expected_factory_topic = get_topic(CassandraFactory)


@pytest.mark.usefixtures(CASSANDRA)
@pytest.mark.filterwarnings("default:'log' is deprecated")
class TestApplication(InTheEnvironment, application.ApplicationTestCase):
    pass


@pytest.fixture
def factory(keyspace: Settings, token: str) -> Iterator[CassandraFactory]:
    with CassandraFactory(Environment(token, keyspace)) as factory:
        yield factory


@pytest.fixture
def recorder(factory: CassandraFactory) -> CassandraApplicationRecorder:
    recorder = factory.application_recorder()
    assert isinstance(recorder, CassandraApplicationRecorder)
    return recorder


def event(originator_id: UUID | str, version: int = 1) -> StoredEvent:
    return StoredEvent(originator_id, version, "some:topic", b"{}")


def test_several_aggregates_are_saved_together_or_not_at_all(
    recorder: CassandraApplicationRecorder,
) -> None:
    rose, lily = uuid4(), uuid4()
    recorder.insert_events([event(rose)])

    with pytest.raises(IntegrityError, match=f"{rose} has one of these versions already: 1"):
        recorder.insert_events([event(lily), event(rose)])

    assert list(recorder.select_events(lily)) == []
    assert recorder.insert_events([event(lily), event(rose, 2)]) == [2, 3]


def test_saves_go_on_over_partitions_and_are_found_in_each(
    recorder: CassandraApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saves, "BUCKET", 4)
    sizes = (3, 4, 1, 1, 4, 2, 3)
    for size in sizes:
        recorder.insert_events([event(uuid4()) for _ in range(size)])
    total = sum(sizes)

    for another in (recorder, _again(recorder)):
        assert another.max_notification_id() == total
        for start in range(1, total + 2):
            found = another.select_notifications(start, 100)
            assert [each.id for each in found] == list(range(start, total + 1))


def _again(recorder: CassandraApplicationRecorder) -> CassandraApplicationRecorder:
    """Return another recorder on the same tables, which knows nothing yet."""
    return CassandraApplicationRecorder(
        recorder.datastore, recorder.events_table_name, recorder._saves._table
    )


def test_a_row_that_a_read_misses_is_not_passed_over(
    recorder: CassandraApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        recorder.insert_events([event(uuid4())])
    read = recorder.datastore.rows

    def torn(statement: str, *parameters: Any, **page: int) -> Iterator[Any]:
        return (row for row in read(statement, *parameters, **page) if row["first"] != 3)

    with monkeypatch.context() as patched:
        patched.setattr(recorder.datastore, "rows", torn)
        assert [each.id for each in recorder.select_notifications(1, 100)] == [1, 2]
    assert [each.id for each in recorder.select_notifications(3, 100)] == [3, 4]


def test_more_events_than_a_partition_has_positions_are_refused(
    recorder: CassandraApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "BUCKET", 4)
    with pytest.raises(ProgrammingError, match="5 events are more than a save can have: 4"):
        recorder.insert_events([event(uuid4()) for _ in range(5)])


def test_the_largest_save_is_copied_and_a_larger_one_is_refused_before_it_is_decided(
    recorder: CassandraApplicationRecorder,
) -> None:
    rose, count = uuid4(), 10_000
    overhead = len(str(rose)) + len("some:topic") + recorders.BYTES_BESIDES
    largest = recorders.MOST_BYTES // count - overhead

    def of_size(size: int) -> list[StoredEvent]:
        return [StoredEvent(rose, n, "some:topic", bytes(size)) for n in range(1, count + 1)]

    with pytest.raises(ProgrammingError, match="bytes are more than a save can have: 4,000,000"):
        recorder.insert_events(of_size(largest + 1))
    assert recorder.max_notification_id() is None
    recorder.insert_events(of_size(largest))

    assert recorder.insert_events([event(rose, count + 1)]) == [count + 1]
    assert (
        _again(recorder).select_events(rose, gt=count - 1, limit=1)[0].originator_version == count
    )
    assert len(_again(recorder).select_notifications(1, 2 * count)) == count + 1


def test_a_save_that_a_thread_copies_while_another_one_reads_is_not_left_out(
    recorder: CassandraApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rose = uuid4()
    recorder.insert_events([event(rose)])
    stopped = _again(recorder)
    with monkeypatch.context() as patched:
        patched.setattr(stopped, "_copy", lambda _: None)
        stopped.insert_events([event(rose, 2)])
    reader = _again(recorder)
    read = recorders.CassandraAggregateRecorder.select_events

    def read_and_copy(*arguments: Any, **options: Any) -> Any:
        found = read(*arguments, **options)
        reader._copy(reader._saves.newest())
        return found

    monkeypatch.setattr(recorders.CassandraAggregateRecorder, "select_events", read_and_copy)
    assert [each.originator_version for each in reader.select_events(rose)] == [1, 2]


@pytest.mark.parametrize(
    "unfit",
    [
        StoredEvent(uuid4(), 1, "some:topic", None),  # type: ignore[arg-type]
        StoredEvent(uuid4(), 1, None, b""),  # type: ignore[arg-type]
        StoredEvent(uuid4(), 2**63, "some:topic", b""),
        StoredEvent("\ud800", 1, "some:topic", b""),
    ],
)
def test_what_can_not_be_stored_is_refused_by_an_error_of_the_librarys(
    recorder: CassandraApplicationRecorder, unfit: StoredEvent
) -> None:
    with pytest.raises(ProgrammingError):
        recorder.insert_events([unfit])
    assert recorder.max_notification_id() is None


def test_a_name_that_no_table_can_have_is_refused(keyspace: Settings, token: str) -> None:
    with (
        CassandraFactory(Environment(f'N-"{token}', keyspace)) as factory,
        pytest.raises(ProgrammingError, match="Table name"),
    ):
        factory.application_recorder()


def test_nothing_is_read_where_nothing_is_wanted(recorder: CassandraApplicationRecorder) -> None:
    rose = uuid4()
    recorder.insert_events([event(rose)])
    assert list(recorder.select_events(rose, limit=0)) == []
    assert list(recorder.select_notifications(1, 0)) == []


def test_ids_may_be_text(keyspace: Settings, token: str) -> None:
    env = Environment(token, {**keyspace, "ORIGINATOR_ID_TYPE": "text"})
    with CassandraFactory(env) as factory:
        recorder = factory.application_recorder()
        recorder.insert_events([event("page-1"), event("page-2")])

        assert list(recorder.select_events("page-2")) == [event("page-2")]
        assert [each.originator_id for each in recorder.select_notifications(1, 9)] == [
            *("page-1", "page-2")
        ]


def test_snapshots_of_several_aggregates_at_once_are_refused(factory: CassandraFactory) -> None:
    with pytest.raises(NotSupportedError, match="aggregate by aggregate"):
        factory.aggregate_recorder("snapshots").insert_events([event(uuid4()), event(uuid4())])


def test_a_keyspace_that_is_not_there_is_told_with_what_to_do(keyspace: Settings) -> None:
    env = Environment("shop", {**keyspace, "CASSANDRA_KEYSPACE": "nowhere"})
    with (
        CassandraFactory(env) as factory,
        pytest.raises(ProgrammingError, match="CREATE KEYSPACE nowhere WITH replication"),
    ):
        factory.application_recorder()


def test_a_server_that_is_not_there_is_told_with_where() -> None:
    settings = {"CASSANDRA_HOSTS": "127.0.0.1", "CASSANDRA_PORT": "1", "CASSANDRA_KEYSPACE": "k"}
    with (
        CassandraFactory(Environment("shop", settings)) as factory,
        pytest.raises(OperationalError, match=r"Cassandra at 127\.0\.0\.1:1/k: .*refused"),
    ):
        factory.application_recorder()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "CASSANDRA_HOSTS is not set"),
        ({"CASSANDRA_HOSTS": "there"}, "CASSANDRA_KEYSPACE is not set"),
        ({"CASSANDRA_HOSTS": "there", "CASSANDRA_PORT": "many"}, "'many', which is no port"),
    ],
)
def test_what_is_not_set_is_told(settings: Settings, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        CassandraFactory(Environment("shop", settings))


def test_nothing_is_followed_into_it() -> None:
    settings = {"CASSANDRA_HOSTS": "there", "CASSANDRA_KEYSPACE": "k"}
    factory = CassandraFactory(Environment("shop", settings))
    for make in (factory.tracking_recorder, factory.process_recorder):
        with pytest.raises(SettingsError, match="set SHOP_PERSISTENCE_MODULE"):
            make()
