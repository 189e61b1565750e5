"""What any runner of systems does, the library's two and ours, wherever is stored."""

from uuid import UUID

import pytest
from eventsourcing.application import Application, ProcessingEvent
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.system import RunnerAlreadyStartedError, System

from eventsourcing_kafka.compose.runner import KafkaRunner
from eventsourcing_kafka.consumer.engine.applying import OnError
from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog
from tests.hosting.tallying import Left, Tallying, chain
from tests.layers import on
from tests.pipeline import SECONDS

from .staging import Stage, over
from .storing import POPO, POSTGRES, SQLITE_FILES, Persistence, Place

STORES = [POPO, SQLITE_FILES, POSTGRES]

alone = System(pipes=[[DogSchool]])


class Tricks(Tallying):
    """Wants the tricks only."""

    topics = ("examples.dogschool.domainmodel:Dog.TrickAdded",)


filtered = System(pipes=[[DogSchool, Tricks]])


@over(STORES)
def test_the_applications_are_there_before_the_start_and_what_they_did_is_caught_up(
    stage: Stage,
) -> None:
    runner = stage.construct(chain)
    school, left = runner.get(DogSchool), runner.get(Left)
    school.register_dog("Billy")
    school.add_trick("Billy", "beg")
    with runner:
        assert runner.get(DogSchool) is school
        assert runner.get(Left) is left
        school.add_trick("Billy", "sit")  # The library's followers look when they are prompted.
        stage.settle(runner)
        assert (left.count("beg"), left.count("sit")) == (1, 1)


@over(STORES)
def test_a_follower_tracks_its_leader_under_the_leader_s_name(stage: Stage) -> None:
    with stage.run(chain) as runner:
        school, left = runner.get(DogSchool), runner.get(Left)
        school.register_dog("Billy")
        for trick in ("beg", "sit", "beg"):
            position = school.add_trick("Billy", trick)
            left.recorder.wait("DogSchool", position, timeout=SECONDS)
            assert left.recorder.max_tracking_id("DogSchool") == position
        assert left.recorder.max_tracking_id("Bottom") is None


@over(STORES)
def test_a_runner_starts_once(stage: Stage) -> None:
    with stage.run(chain) as runner, pytest.raises(RunnerAlreadyStartedError):
        runner.start()


@over([POPO])
def test_an_application_that_the_system_has_not_is_not_there(stage: Stage) -> None:
    with stage.run(chain) as runner, pytest.raises(KeyError):
        runner.get(Application[UUID])


@over([POPO])
def test_no_application_is_there_after_the_stop(stage: Stage) -> None:
    with stage.run(chain) as runner:
        assert runner.get(DogSchool)
    with pytest.raises(KeyError):
        runner.get(DogSchool)


@over([POPO])
def test_a_runner_that_was_not_started_can_be_stopped(stage: Stage) -> None:
    runner = stage.construct(chain)
    assert runner.get(DogSchool)
    runner.stop()


@over([POPO])
def test_an_application_may_be_by_itself(stage: Stage) -> None:
    with stage.run(alone) as runner:
        assert runner.get(DogSchool).register_dog("Billy") == 1
        stage.settle(runner)


@over(STORES)
def test_a_follower_gets_the_topics_only_that_it_wants(stage: Stage) -> None:
    with stage.run(filtered) as runner:
        school, tricks = runner.get(DogSchool), runner.get(Tricks)
        school.register_dog("Billy")
        school.add_trick("Billy", "beg")
        school.add_trick("Billy", "beg")
        stage.settle(runner)
        assert tricks.count("beg") == 2


@over([SQLITE_FILES, POSTGRES])
def test_what_was_followed_is_not_followed_again(stage: Stage) -> None:
    for taught in range(1, 3):
        with stage.run(chain) as runner:
            school = runner.get(DogSchool)
            if taught == 1:
                school.register_dog("Billy")
            school.add_trick("Billy", "beg")
            stage.settle(runner)
            assert runner.get(Left).count("beg") == taught


class PickyError(Exception):
    """It does not like it."""


class Picky(Tallying):
    """Can't take begging."""

    def policy(
        self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]
    ) -> None:
        super().policy(domain_event, processing_event)
        if isinstance(domain_event, Dog.TrickAdded) and domain_event.trick == "beg":
            raise PickyError


picky = System(pipes=[[DogSchool, Picky]])


@pytest.mark.parametrize("store", [POPO, SQLITE_FILES, on(POSTGRES, needs=POSTGRES.servers)])
@pytest.mark.usefixtures("kafka")
def test_an_error_of_a_follower_surfaces_if_it_is_asked_to(
    place: Place, store: Persistence
) -> None:
    env = {**store.environment(place, picky), **place.kafka}
    runner = KafkaRunner(picky, env, on_error=OnError.RAISE)
    runner.start()
    school = runner.get(DogSchool)
    school.register_dog("Billy")
    school.add_trick("Billy", "beg")
    with pytest.raises(PickyError):
        runner.wait()
    with pytest.raises(PickyError):
        runner.run_forever()
    assert runner.watch_for_errors()
    assert not runner.apps


@pytest.mark.usefixtures("kafka")
def test_an_error_of_a_follower_is_raised_at_the_stop_if_nobody_has_seen_it(place: Place) -> None:
    env = {**POPO.environment(place, picky), **place.kafka}
    with pytest.raises(PickyError), KafkaRunner(picky, env, on_error=OnError.RAISE) as runner:
        let_it_beg(runner)


def let_it_beg(runner: KafkaRunner) -> None:
    runner.get(DogSchool).register_dog("Billy")
    runner.get(DogSchool).add_trick("Billy", "beg")
    assert runner.has_errored.wait(SECONDS)
