"""What any runner of projections does, the library's and ours."""

from threading import Thread, Timer
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate

from eventsourcing_kafka.compose.runner import KafkaProjectionRunner
from examples.dogschool.application import DogSchool
from examples.tallies.projection import Tallies
from examples.tricks.popo import POPOTricksView
from examples.tricks.projection import Tricks
from tests.pipeline import SECONDS

from .storing import Place, popo, settings
from .test_projections import (
    VIEWS,
    Broken,
    BrokenError,
    EnvironmentOf,
    Projecting,
    Stored,
    environment_of,
    on_views,
    projecting,
    wait,
)

__all__ = ["environment_of", "projecting"]


@pytest.fixture
def in_memory(environment_of: EnvironmentOf) -> dict[str, Any]:
    """What a runner of projections is constructed with."""
    return {
        "application_class": DogSchool,
        "projection_class": Tricks,
        "view_class": POPOTricksView,
        "env": environment_of(DogSchool=popo, Tricks=popo),
    }


@on_views(*VIEWS)
def test_the_view_is_waited_for_by_itself(
    projecting: Projecting, environment_of: EnvironmentOf, stored: Stored
) -> None:
    env = environment_of(DogSchool=stored.school, Tricks=stored.view)
    with projecting.projection(
        application_class=DogSchool,
        projection_class=Tricks,
        view_class=stored.view_class,
        env=env,
    ) as runner:
        position = runner.app.register_dog("Billy")
        wait(runner, position)
        runner.view.wait(runner.app_name, position)
        assert runner.projection.view is runner.view
        assert runner.view.max_tracking_id(runner.app_name) == position


def test_a_runner_tells_what_it_runs(projecting: Projecting, in_memory: dict[str, Any]) -> None:
    with projecting.projection(**in_memory) as runner:
        assert isinstance(runner.app, DogSchool)
        assert isinstance(runner.projection, Tricks)
        assert isinstance(runner.view, POPOTricksView)
        assert runner.app_name == "DogSchool"


def test_no_position_is_not_waited_for(projecting: Projecting, in_memory: dict[str, Any]) -> None:
    with projecting.projection(**in_memory) as runner:
        runner.wait(None)


def test_a_position_that_does_not_come_is_a_timeout(
    projecting: Projecting, in_memory: dict[str, Any]
) -> None:
    with projecting.projection(**in_memory) as runner:
        with pytest.raises(TimeoutError):
            runner.wait(1)
        with pytest.raises(TimeoutError):
            runner.wait(1, timeout=0.1)
        runner.run_forever(timeout=0.1)


def test_who_waits_returns_when_it_is_stopped(
    projecting: Projecting, in_memory: dict[str, Any]
) -> None:
    with projecting.projection(**in_memory) as runner:
        assert not runner.is_interrupted.is_set()
        Timer(0.1, runner.stop).start()
        runner.wait(1, timeout=SECONDS)
        assert runner.is_interrupted.is_set()
        runner.run_forever(timeout=SECONDS)
        runner.stop()


def test_an_error_that_nobody_has_waited_for_surfaces_at_the_end(
    projecting: Projecting, in_memory: dict[str, Any]
) -> None:
    constructed = {**in_memory, "projection_class": Broken}
    runner = projecting.projection(**constructed)
    runner.app.register_dog("Billy")
    assert runner.is_interrupted.wait(SECONDS)
    with pytest.raises(BrokenError), runner:
        pass


def test_a_runner_without_a_with_is_stopped_by_its_stop(
    projecting: Projecting, in_memory: dict[str, Any]
) -> None:
    runner = projecting.projection(**in_memory)
    wait(runner, runner.app.register_dog("Billy"))
    running = Thread(target=runner.run_forever)
    running.start()
    runner.stop()
    running.join(SECONDS)
    assert not running.is_alive()
    runner.app.close()


def test_an_application_class_may_say_what_its_ids_are(
    projecting: Projecting, environment_of: EnvironmentOf
) -> None:
    env = environment_of(Application=popo, Tallies=popo)
    with projecting.event_sourced_projection(
        application_class=Application[UUID], projection_class=Tallies, env=env
    ) as runner:
        assert runner.app_name == "Application"
        wait(runner, runner.app.save(Aggregate())[-1].notification.id)
        assert runner.projection.get_count(Aggregate.Created) == 1


def test_what_is_no_application_is_refused(
    projecting: Projecting, in_memory: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        projecting.projection(**{**in_memory, "application_class": Aggregate})


def test_a_runner_that_is_forgotten_stops(
    projecting: Projecting, in_memory: dict[str, Any]
) -> None:
    runner = projecting.projection(**in_memory)
    app, interrupted = runner.app, runner.is_interrupted
    del runner
    assert interrupted.wait(SECONDS)
    app.close()


@pytest.mark.usefixtures("kafka")
def test_an_error_surfaces_to_each_who_waits(place: Place) -> None:
    """The library's runner tells the first one; those after it that it was interrupted."""
    with KafkaProjectionRunner(
        application_class=DogSchool,
        projection_class=Broken,
        view_class=POPOTricksView,
        env={**settings(place, {"DogSchool": popo, "tricks": popo}), **place.kafka},
    ) as runner:
        position = runner.app.register_dog("Billy")
        for _ in range(3):
            with pytest.raises(BrokenError):
                runner.wait(position, timeout=SECONDS)
            with pytest.raises(BrokenError):
                runner.run_forever(timeout=SECONDS)
