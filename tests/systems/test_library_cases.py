"""The test cases that the library ships, unchanged, with ours in place of its own."""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from eventsourcing.dcb.msgpack import MessagePackMapper
from eventsourcing.persistence import InfrastructureFactory, TrackingRecorder
from eventsourcing.postgres import PostgresFactory
from eventsourcing.tests import application, persistence, projection
from eventsourcing.utils import Environment, get_topic

from eventsourcing_kafka.compose.runner import (
    KafkaEventSourcedProjectionRunner,
    KafkaProjectionRunner,
)
from eventsourcing_kafka.consumer.views.fts.postgres import PostgresFtsProcessRecorder
from eventsourcing_kafka.consumer.views.fts.sqlite import SQLiteFtsProcessRecorder
from eventsourcing_kafka.producer.outbox.traced import TracedProcessRecorder, TracedRecorder
from examples.tricks.popo import POPOTricksView
from examples.tricks.postgres import PostgresTricksView
from examples.tricks.sqlite import SQLiteTricksView

from .event_counters import (
    POPOEventCounters,
    PostgresEventCounters,
    SQLAlchemyEventCounters,
    SQLiteEventCounters,
)
from .storing import (
    Place,
    Store,
    popo,
    postgres,
    settings,
    sqlalchemy_postgres,
    sqlalchemy_sqlite,
    sqlite_shared_cache,
    tagged_popo,
    tagged_postgres,
)


class OnStores:
    """Sets a test case of the library's in a place of its own."""

    store: ClassVar[Store]
    env: ClassVar[dict[str, str]]

    @pytest.fixture(autouse=True)
    def in_its_place(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(projection, "ProjectionRunner", KafkaProjectionRunner)
        monkeypatch.setattr(
            projection, "EventSourcedProjectionRunner", KafkaEventSourcedProjectionRunner
        )
        names = ("Application", "eventcounters", "Counters")
        env = settings(place, dict.fromkeys(names, self.store))
        monkeypatch.setattr(type(self), "env", {**env, **place.kafka}, raising=False)


@pytest.mark.usefixtures("kafka")
class TestProjectionOnPOPO(OnStores, projection.AggregateEventCountersProjectionTestCase):
    store = popo
    view_class = POPOEventCounters


@pytest.mark.usefixtures("kafka")
class TestProjectionOnSQLite(OnStores, projection.AggregateEventCountersProjectionTestCase):
    store = sqlite_shared_cache
    view_class = SQLiteEventCounters


@pytest.mark.usefixtures("kafka", "postgres")
class TestProjectionOnPostgres(OnStores, projection.AggregateEventCountersProjectionTestCase):
    store = postgres
    view_class = PostgresEventCounters


@pytest.mark.usefixtures("kafka")
class TestProjectionOnSQLAlchemySQLite(
    OnStores, projection.AggregateEventCountersProjectionTestCase
):
    store = sqlalchemy_sqlite
    view_class = SQLAlchemyEventCounters


@pytest.mark.usefixtures("kafka", "postgres")
class TestProjectionOnSQLAlchemyPostgres(
    OnStores, projection.AggregateEventCountersProjectionTestCase
):
    store = sqlalchemy_postgres
    view_class = SQLAlchemyEventCounters


class OnTaggedStores(OnStores):
    """The same, for an application of tagged decisions."""

    tagged: ClassVar[Store]

    @pytest.fixture(autouse=True)
    def tagged_in_its_place(
        self,
        in_its_place: None,  # noqa: ARG002 - what is set there comes first
        place: Place,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        mapper = {"MAPPER_TOPIC": get_topic(MessagePackMapper)}
        stored = settings(place, {"DCBApplication": self.tagged})
        monkeypatch.setattr(type(self), "env", {**self.env, **stored, **mapper})


@pytest.mark.usefixtures("kafka")
class TestTaggedProjectionOnPOPO(
    OnTaggedStores, projection.TaggedDecisionCountersProjectionTestCase
):
    store, tagged, view_class = popo, tagged_popo, POPOEventCounters


@pytest.mark.usefixtures("kafka", "postgres")
class TestTaggedProjectionOnPostgres(
    OnTaggedStores, projection.TaggedDecisionCountersProjectionTestCase
):
    store, tagged, view_class = postgres, tagged_postgres, PostgresEventCounters


@pytest.mark.usefixtures("kafka")
class TestEventSourcedProjectionOnPOPO(OnStores, projection.EventSourcedProjectionTestCase):
    store = popo


@pytest.mark.usefixtures("kafka")
class TestEventSourcedProjectionOnSQLite(OnStores, projection.EventSourcedProjectionTestCase):
    store = sqlite_shared_cache


@pytest.mark.usefixtures("kafka", "postgres")
class TestEventSourcedProjectionOnPostgres(OnStores, projection.EventSourcedProjectionTestCase):
    store = postgres


class MakesRecorders:
    """Makes a recorder for a test case of the library's, on a store of its own."""

    store: ClassVar[Store]
    view_class: ClassVar[type[TrackingRecorder] | None] = None
    """Of a tracking recorder."""
    recorders: ClassVar[dict[str, type]] = {}
    """By the names of the library's settings."""

    @pytest.fixture(autouse=True)
    def in_its_place(self, place: Place) -> Iterator[None]:
        topics = {f"EXAMPLE_{name}": get_topic(cls) for name, cls in self.recorders.items()}
        env = {**settings(place, {"example": self.store}), **topics}
        with InfrastructureFactory[Any].construct(Environment("example", env)) as self.factory:
            yield

    factory: InfrastructureFactory[Any]

    def create_recorder(self) -> Any:
        if self.view_class:
            return self.factory.tracking_recorder(self.view_class)
        if "PROCESS_RECORDER_TOPIC" in self.recorders:
            return self.factory.process_recorder()
        return self.factory.application_recorder()

    construct_event_counters_view = create_recorder


class TestEventCountersOnPOPO(MakesRecorders, projection.EventCountersViewTestCase):
    store, view_class = popo, POPOEventCounters


class TestEventCountersOnSQLite(MakesRecorders, projection.EventCountersViewTestCase):
    store, view_class = sqlite_shared_cache, SQLiteEventCounters


@pytest.mark.usefixtures("postgres")
class TestEventCountersOnPostgres(MakesRecorders, projection.EventCountersViewTestCase):
    store, view_class = postgres, PostgresEventCounters


class TestTricksOnPOPO(MakesRecorders, persistence.TrackingRecorderTestCase):
    store, view_class = popo, POPOTricksView


class TestTricksOnSQLite(MakesRecorders, persistence.TrackingRecorderTestCase):
    store, view_class = sqlite_shared_cache, SQLiteTricksView


@pytest.mark.usefixtures("postgres")
class TestTricksOnPostgres(MakesRecorders, persistence.TrackingRecorderTestCase):
    store, view_class = postgres, PostgresTricksView


class TestSearchOnSQLite(MakesRecorders, persistence.ProcessRecorderTestCase):
    store, recorders = sqlite_shared_cache, {"PROCESS_RECORDER_TOPIC": SQLiteFtsProcessRecorder}


@pytest.mark.usefixtures("postgres")
class TestSearchOnPostgres(MakesRecorders, persistence.ProcessRecorderTestCase):
    store, recorders = postgres, {"PROCESS_RECORDER_TOPIC": PostgresFtsProcessRecorder}


@pytest.mark.usefixtures("postgres")
class TestTracedProcesses(MakesRecorders, persistence.ProcessRecorderTestCase):
    store, recorders = postgres, {"PROCESS_RECORDER_TOPIC": TracedProcessRecorder}


@pytest.mark.usefixtures("postgres")
class TestTracedApplications(
    MakesRecorders, persistence.ApplicationRecorderTestCase[TracedRecorder]
):
    store, recorders = postgres, {"APPLICATION_RECORDER_TOPIC": TracedRecorder}
    EXPECT_CONTIGUOUS_NOTIFICATION_IDS = False


@pytest.mark.usefixtures("postgres")
class TestExampleApplicationTraced(application.ExampleApplicationTestCase):
    expected_factory_topic = get_topic(PostgresFactory)

    @pytest.fixture(autouse=True)
    def in_its_place(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        traced = {"APPLICATION_RECORDER_TOPIC": get_topic(TracedRecorder)}
        for name, value in {**settings(place, {"BankAccounts": postgres}), **traced}.items():
            monkeypatch.setenv(name, value)
