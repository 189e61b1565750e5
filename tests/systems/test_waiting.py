"""Waiting as the library waits: for one position, under the application's own name."""

from collections.abc import Collection
from contextlib import ExitStack
from threading import Event
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.projection import ProjectionRunner
from eventsourcing.utils import Environment

from eventsourcing_kafka.compose.runner import KafkaProjectionRunner, KafkaRunner
from eventsourcing_kafka.consumer.engine.applying import Applier
from examples.dogschool.application import DogSchool
from examples.tricks.projection import Tricks, TricksView
from tests.hosting.tallying import Left, chain
from tests.layers import on
from tests.pipeline import SECONDS

from .storing import Place, Store, popo, postgres, settings, sqlite_file
from .test_projections import VIEWS, Stored, wait

LASTING = ["SQLite file", "Postgres"]


def on_views(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "stored",
        [
            on(stored, needs={"kafka", *stored.view.servers, *stored.school.servers}, name=name)
            for name, stored in VIEWS.items()
            if name in names
        ],
    )


def parts(place: Place, stored: Stored, **more: str) -> dict[str, Any]:
    """Return what a runner of projections is constructed with."""
    stores = {"DogSchool": stored.school, "Tricks": stored.view}
    return {
        "application_class": DogSchool,
        "projection_class": Tricks,
        "view_class": stored.view_class,
        "env": {**settings(place, stores), **place.kafka, **more},
    }


def opened_view(place: Place, stored: Stored) -> TricksView:
    """Open the view as any other process does."""
    env = Environment(Tricks.name, settings(place, {Tricks.name: stored.view}))
    factory = InfrastructureFactory[Any].construct(env)
    view: TricksView = factory.tracking_recorder(stored.view_class)
    return view


@on_views(*VIEWS)
def test_the_view_comes_to_each_position_as_soon_as_one_waits(place: Place, stored: Stored) -> None:
    with KafkaProjectionRunner(**parts(place, stored)) as runner:
        for name in ("Billy", "Milly", "Scrappy"):
            position = runner.app.register_dog(name)
            runner.view.wait(runner.app.name, position, timeout=SECONDS)
            position = runner.app.add_trick(name, "roll over")
            runner.view.wait(runner.app.name, position, timeout=SECONDS)
            assert runner.view.max_tracking_id("DogSchool") == position
        assert runner.view.get_count("roll over") == 3


STORES = [
    on(popo, name="POPO"),
    on(sqlite_file, name="SQLite"),
    on(postgres, needs=postgres.servers),
]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.usefixtures("kafka")
def test_a_follower_s_recorder_waits_for_its_leader(place: Place, store: Store) -> None:
    env = {**settings(place, dict.fromkeys(chain.nodes, store)), **place.kafka}
    with KafkaRunner(chain, env) as runner:
        school, left = runner.get(DogSchool), runner.get(Left)
        school.register_dog("Billy")
        position = school.add_trick("Billy", "roll over")
        left.recorder.wait("DogSchool", position, timeout=SECONDS)
        assert left.count("roll over") == 1


@on_views(*LASTING)
def test_a_view_that_waits_for_no_event_s_topic_comes_to_its_position(
    place: Place, stored: Stored
) -> None:
    """An event that a projection does not want is passed, too."""

    class OnlyTricks(Tricks):
        name = "tricks"
        topics = ("examples.dogschool.domainmodel:Dog.TrickAdded",)

    constructed = {**parts(place, stored), "projection_class": OnlyTricks}
    with KafkaProjectionRunner(**constructed) as runner:
        runner.wait(runner.app.register_dog("Billy"), timeout=SECONDS)
        runner.wait(runner.app.register_dog("Milly"), timeout=SECONDS)


@on_views(*LASTING)
def test_a_view_goes_from_the_library_s_runner_to_ours_and_back(
    place: Place, stored: Stored
) -> None:
    def learn(runner: Any, trick: str) -> None:
        position = runner.app.add_trick("Billy", trick)
        wait(runner, position)

    constructed = parts(place, stored)
    runner: Any
    with DogSchool(constructed["env"]) as school:
        school.register_dog("Billy")
    for number in range(2):
        with ProjectionRunner(**constructed) as runner:
            learn(runner, "sit")
            learn(runner, "roll over")
        with KafkaProjectionRunner(**constructed) as runner:
            learn(runner, "sit")
            learn(runner, "beg")
        counts = {"sit": 2, "roll over": 1, "beg": 1}
        assert {trick: runner.view.get_count(trick) for trick in counts} == {
            trick: count * (number + 1) for trick, count in counts.items()
        }


@pytest.mark.usefixtures("kafka")
def test_ends_that_kafka_tells_late_do_not_end_a_wait(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = Event()
    apply, ends = Applier.apply, AIOKafkaConsumer.end_offsets

    async def apply_once_released(*args: Any) -> Any:
        released.wait()
        return await apply(*args)

    async def end_offsets(
        consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        found = await ends(consumer, partitions)
        return {each: 0 if each.topic.endswith("events") else end for each, end in found.items()}

    env = {**settings(place, dict.fromkeys(chain.nodes, popo)), **place.kafka}
    with KafkaRunner(chain, env) as runner, ExitStack() as leaving:
        leaving.callback(released.set)
        school, left = runner.get(DogSchool), runner.get(Left)
        monkeypatch.setattr(Applier, "apply", apply_once_released)
        monkeypatch.setattr(AIOKafkaConsumer, "end_offsets", end_offsets)
        school.register_dog("Billy")

        with pytest.raises(TimeoutError):
            runner.wait(0.5)

        released.set()
        runner.wait(SECONDS)
        assert left.recorder.max_tracking_id("DogSchool")
