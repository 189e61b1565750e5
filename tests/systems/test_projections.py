"""The dog school projected into materialised views and into another event-sourced application."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from threading import Thread
from typing import Any, NoReturn

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import InfrastructureFactory, IntegrityError, Tracking
from eventsourcing.postgres import PostgresApplicationRecorder
from eventsourcing.projection import (
    ApplicationSubscription,
    EventSourcedProjectionRunner,
    ProjectionRunner,
)
from eventsourcing.utils import Environment, get_topic
from psycopg.sql import SQL, Identifier

from eventsourcing_kafka.compose.runner import (
    KafkaEventSourcedProjectionRunner,
    KafkaProjectionRunner,
)
from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog
from examples.tallies.projection import Tallies
from examples.tricks.popo import POPOTricksView
from examples.tricks.postgres import PostgresTricksView
from examples.tricks.projection import Tricks, TricksView
from examples.tricks.sqlite import SQLiteTricksView
from tests.layers import on
from tests.pipeline import SECONDS

from .storing import (
    Place,
    Store,
    popo,
    postgres,
    private_postgres,
    settings,
    sqlite_file,
    sqlite_memory,
    sqlite_shared_cache,
)


@dataclass(frozen=True)
class Projecting:
    """A way to run projections: the constructors of its two kinds of runner."""

    name: str
    projection: Callable[..., Any]
    event_sourced_projection: Callable[..., Any]
    servers: frozenset[str] = frozenset()


PROJECTING = [
    Projecting("library", ProjectionRunner, EventSourcedProjectionRunner),
    Projecting(
        "Kafka", KafkaProjectionRunner, KafkaEventSourcedProjectionRunner, frozenset({"kafka"})
    ),
]


@pytest.fixture(params=[on(way, needs=way.servers, name=way.name) for way in PROJECTING])
def projecting(request: pytest.FixtureRequest) -> Projecting:
    way: Projecting = request.param
    return way


@pytest.fixture
def environment_of(projecting: Projecting, place: Place) -> Callable[..., dict[str, str]]:
    """Takes the store of each application and view by name; returns the environment of all."""

    def environment_of(**stores: Store) -> dict[str, str]:
        kafka = place.kafka if "kafka" in projecting.servers else {}
        return {**settings(place, stores), **kafka}

    return environment_of


EnvironmentOf = Callable[..., dict[str, str]]


@dataclass(frozen=True)
class Stored:
    """A view, where it stores, and where the dog school does."""

    view_class: type[TricksView]
    view: Store
    school: Store


VIEWS = {
    "POPO": Stored(POPOTricksView, popo, popo),
    "SQLite in memory": Stored(SQLiteTricksView, sqlite_shared_cache, popo),
    "SQLite file": Stored(SQLiteTricksView, sqlite_file, private_postgres),
    "Postgres": Stored(PostgresTricksView, postgres, private_postgres),
}


def on_views(*names: str) -> pytest.MarkDecorator:
    cases = [
        on(stored := VIEWS[name], needs=stored.view.servers | stored.school.servers, name=name)
        for name in names
    ]
    return pytest.mark.parametrize("stored", cases)


def wait(runner: Any, position: int) -> None:
    """Wait until a position is projected.

    The library's runner on Postgres may begin to listen only after the NOTIFY of the first event,
    and would wait for the next one: so it is notified again.
    """
    recorder = runner.app.recorder
    for _ in range(int(SECONDS)):
        with suppress(TimeoutError):
            runner.wait(position, timeout=1)
            return
        if isinstance(recorder, PostgresApplicationRecorder):
            channel = Identifier(recorder.channel_name)
            with recorder.datastore.get_connection() as connection:
                connection.execute(SQL("NOTIFY {}").format(channel))
    raise TimeoutError(position)


def project(runner: Any, *lessons: tuple[str, str]) -> None:
    """Teach, and wait until the view knows."""
    positions = [runner.app.add_trick(*lesson) for lesson in lessons]
    wait(runner, positions[-1])


@on_views(*VIEWS)
def test_tricks_are_projected_into_a_view(
    projecting: Projecting, environment_of: EnvironmentOf, stored: Stored
) -> None:
    env = environment_of(DogSchool=stored.school, Tricks=stored.view)
    with projecting.projection(
        application_class=DogSchool,
        projection_class=Tricks,
        view_class=stored.view_class,
        env=env,
    ) as runner:
        wait(runner, runner.app.register_dog("Billy"))
        assert runner.view.get_favourites(9) == []

        runner.app.register_dog("Milly")
        project(runner, ("Billy", "roll over"), ("Milly", "roll over"), ("Milly", "sit"))
        assert runner.view.get_count("roll over") == 2
        assert runner.view.get_count("play dead") == 0

        project(runner, ("Billy", "play dead"))
        assert runner.view.get_favourites(2) == [("roll over", 2), ("play dead", 1)]


@on_views("SQLite file", "Postgres")
def test_a_projection_goes_on_from_where_it_was(
    projecting: Projecting, environment_of: EnvironmentOf, stored: Stored
) -> None:
    env = environment_of(DogSchool=stored.school, Tricks=stored.view)
    parts = {"application_class": DogSchool, "projection_class": Tricks}
    with projecting.projection(**parts, view_class=stored.view_class, env=env) as runner:
        runner.app.register_dog("Billy")
        project(runner, ("Billy", "roll over"), ("Billy", "sit"))

    with DogSchool(env) as school:
        school.add_trick("Billy", "roll over")
    with projecting.projection(**parts, view_class=stored.view_class, env=env) as runner:
        project(runner, ("Billy", "roll over"))
        assert runner.view.get_favourites(9) == [("roll over", 3), ("sit", 1)]


class BrokenError(Exception):
    pass


class Broken(Tricks):
    name = "tricks"

    def process_event(self, *_: Any) -> NoReturn:
        raise BrokenError


def test_an_error_of_the_projection_surfaces_where_one_waits(
    projecting: Projecting, environment_of: EnvironmentOf
) -> None:
    parts = {"application_class": DogSchool, "projection_class": Broken}
    env = environment_of(DogSchool=popo, Tricks=popo)
    with projecting.projection(**parts, view_class=POPOTricksView, env=env) as runner:
        position = runner.app.register_dog("Billy")
        with pytest.raises(BrokenError):
            runner.wait(position, timeout=SECONDS)

    with projecting.projection(**parts, view_class=POPOTricksView, env=env) as runner:
        runner.app.register_dog("Billy")
        with pytest.raises(BrokenError):
            runner.run_forever(timeout=SECONDS)


def test_a_projection_runs_until_it_is_stopped(
    projecting: Projecting, environment_of: EnvironmentOf
) -> None:
    with projecting.projection(
        application_class=DogSchool,
        projection_class=Tricks,
        view_class=POPOTricksView,
        env=environment_of(DogSchool=popo, Tricks=popo),
    ) as runner:
        running = Thread(target=runner.run_forever, kwargs={"timeout": SECONDS})
        running.start()
        runner.app.register_dog("Billy")
        project(runner, ("Billy", "roll over"))
        assert running.is_alive()

        runner.stop()
        running.join(SECONDS)
        assert not running.is_alive()


TALLIES = {
    "POPO": (popo, popo),
    "SQLite in memory": (popo, sqlite_shared_cache),
    "SQLite file": (private_postgres, sqlite_file),
    "Postgres": (private_postgres, private_postgres),
}


@pytest.mark.parametrize(
    ("leader", "follower"),
    [
        on(leader, follower, needs=leader.servers | follower.servers, name=name)
        for name, (leader, follower) in TALLIES.items()
    ],
)
def test_an_application_is_projected_into_another(
    projecting: Projecting, environment_of: EnvironmentOf, leader: Store, follower: Store
) -> None:
    with projecting.event_sourced_projection(
        application_class=Application,
        projection_class=Tallies,
        env=environment_of(Application=leader, Tallies=follower),
    ) as runner:

        def counts_after_saving(aggregate: Aggregate) -> tuple[int, int]:
            recordings = runner.app.save(aggregate)
            wait(runner, recordings[-1].notification.id)
            tallies = runner.projection
            return tallies.get_count(Aggregate.Created), tallies.get_count(Aggregate.Event)

        assert [counts_after_saving(Aggregate()) for _ in range(3)] == [(1, 0), (2, 0), (3, 0)]

        aggregate = Aggregate()
        aggregate.trigger_event(Aggregate.Event)
        assert counts_after_saving(aggregate) == (4, 1)


STORES = [on(popo, name="POPO"), on(private_postgres, needs={"postgres"}, name="Postgres")]


class TrickTallies(Tallies):
    """Wants the tricks only."""

    topics = (get_topic(Dog.TrickAdded),)


@pytest.mark.parametrize("store", STORES)
def test_a_projection_gets_the_topics_only_that_it_wants(
    projecting: Projecting, environment_of: EnvironmentOf, store: Store
) -> None:
    with projecting.event_sourced_projection(
        application_class=DogSchool,
        projection_class=TrickTallies,
        env=environment_of(DogSchool=store, TrickTallies=store),
    ) as runner:
        runner.app.register_dog("Billy")
        project(runner, ("Billy", "roll over"), ("Billy", "sit"))
        assert runner.projection.get_count(Aggregate.Event) == 2
        assert runner.projection.get_count(Aggregate.Created) == 0


@pytest.fixture(params=STORES)
def school(request: pytest.FixtureRequest, place: Place) -> Iterator[DogSchool]:
    """A school with a dog that knows two tricks: positions 1 to 3."""
    with DogSchool(settings(place, {"DogSchool": request.param})) as school:
        school.register_dog("Billy")
        school.add_trick("Billy", "roll over")
        school.add_trick("Billy", "sit")
        yield school


@pytest.mark.parametrize(("gt", "positions"), [(None, [1, 2, 3]), (0, [1, 2, 3]), (2, [3])])
def test_a_subscription_begins_after_a_position_and_goes_on_with_what_is_new(
    school: DogSchool, gt: int | None, positions: Sequence[int]
) -> None:
    with ApplicationSubscription(school, gt=gt) as subscription:
        received = islice(subscription, len(positions))
        trackings = [tracking for _, tracking in received]
        assert trackings == [Tracking("DogSchool", position) for position in positions]

        school.add_trick("Billy", "play dead")
        event, tracking = next(subscription)
        assert isinstance(event, Dog.TrickAdded)
        assert (event.trick, tracking.notification_id) == ("play dead", 4)


def test_a_subscription_brings_the_topics_only_that_are_wanted(school: DogSchool) -> None:
    wanted = [get_topic(Dog.TrickAdded)]
    school.register_dog("Milly")
    school.add_trick("Milly", "play dead")

    with ApplicationSubscription(school, gt=2, topics=wanted) as subscription:
        assert [tracking.notification_id for _, tracking in islice(subscription, 2)] == [3, 5]


def test_an_application_on_sqlite_has_no_subscription(place: Place) -> None:
    env = settings(place, {"DogSchool": sqlite_memory})
    with DogSchool(env) as school, pytest.raises(NotImplementedError):
        ApplicationSubscription(school)


@pytest.fixture
def view(stored: Stored, place: Place) -> Iterator[TricksView]:
    env = Environment(Tricks.name, settings(place, {Tricks.name: stored.view}))
    with InfrastructureFactory[Any].construct(env) as factory:
        yield factory.tracking_recorder(stored.view_class)


@on_views(*VIEWS)
def test_an_event_counts_once_in_a_view(view: TricksView) -> None:
    view.insert_tracking(Tracking("DogSchool", 1))
    view.count_trick("sit", Tracking("DogSchool", 2))
    view.count_trick("sit", Tracking("Another School", 2))

    with pytest.raises(IntegrityError):
        view.count_trick("sit", Tracking("DogSchool", 2))
    with pytest.raises(IntegrityError):
        view.count_trick("roll over", Tracking("DogSchool", 1))
    assert view.get_favourites(9) == [("sit", 2)]


@on_views(*VIEWS)
def test_favourites_are_in_order(view: TricksView) -> None:
    for position, trick in enumerate(["sit", "beg", "sit", "Roll", "élan"], start=1):
        view.count_trick(trick, Tracking("DogSchool", position))

    ranked = [("sit", 2), ("Roll", 1), ("beg", 1), ("élan", 1)]
    assert view.get_favourites(9) == ranked
    assert view.get_favourites(2) == ranked[:2]


@on_views(*VIEWS)
def test_one_waits_for_a_position_until_the_view_has_it(view: TricksView) -> None:
    with pytest.raises(TimeoutError):
        view.wait("DogSchool", 1, timeout=0)

    counting = Thread(target=view.count_trick, args=("sit", Tracking("DogSchool", 1)))
    counting.start()
    view.wait("DogSchool", 1, timeout=SECONDS)
    counting.join()
    assert view.max_tracking_id("DogSchool") == 1
    assert view.get_count("sit") == 1
