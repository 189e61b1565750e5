"""Three dogs learn tricks, and the tricks are counted, whatever runs the system."""

import zlib
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.cipher import AESCipher
from eventsourcing.persistence import IntegrityError, MapperDeserialisationError
from eventsourcing.system import Runner
from eventsourcing.utils import get_topic, resolve_topic

from examples.counters.application import Counters
from examples.counters.domainmodel import Counter
from examples.counters.system import system
from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog

from . import untyped
from .running import Settle
from .staging import Stage, over
from .storing import DURABLE, EVERY, POPO, PRIVATE_POSTGRES, Place, postgres, settings

TRICKS = ("roll over", "fetch ball", "play dead")


def counts(counters: Any) -> dict[str, int]:
    return {trick: counters.get_count(trick) for trick in TRICKS}


def play(
    runner: Runner[UUID],
    settle: Settle,
    school_class: type[Any] = DogSchool,
    counters_class: type[Any] = Counters,
) -> None:
    """Teach three dogs, and count their tricks after each lesson."""
    school, counters = runner.get(school_class), runner.get(counters_class)

    for name in ("Billy", "Milly", "Scrappy"):
        school.register_dog(name)
    for name in ("Billy", "Milly", "Scrappy"):
        school.add_trick(name, "roll over")
    settle(runner)
    assert counts(counters) == {"roll over": 3, "fetch ball": 0, "play dead": 0}

    school.add_trick("Billy", "fetch ball")
    school.add_trick("Milly", "fetch ball")
    settle(runner)
    assert counts(counters) == {"roll over": 3, "fetch ball": 2, "play dead": 0}

    school.add_trick("Billy", "play dead")
    settle(runner)
    assert counts(counters) == {"roll over": 3, "fetch ball": 2, "play dead": 1}
    assert school.get_dog("Billy") == {"name": "Billy", "tricks": TRICKS}


def increments(counters: Counters) -> int:
    """Return how many times anything has been counted at all."""
    notifications = counters.recorder.select_notifications(None, 1000)
    topics = [notification.topic for notification in notifications]
    return topics.count(get_topic(Counter.Incremented))


@over(EVERY)
def test_the_tricks_of_three_dogs_are_counted(stage: Stage) -> None:
    with stage.run(system) as runner:
        play(runner, stage.settle)


@over([POPO, PRIVATE_POSTGRES])
def test_the_tricks_are_counted_too_when_nothing_is_annotated(stage: Stage) -> None:
    with stage.run(untyped.system) as runner:
        play(runner, stage.settle, untyped.DogSchool, untyped.Counters)


@over(DURABLE)
def test_nothing_is_lost_or_counted_again_when_the_system_is_reopened(stage: Stage) -> None:
    with stage.run(system) as runner:
        play(runner, stage.settle)

    env = stage.environment(system)
    with DogSchool(env) as school, Counters(env) as counters:
        assert school.get_dog("Scrappy")["tricks"] == ("roll over",)
        assert counts(counters) == {"roll over": 3, "fetch ball": 2, "play dead": 1}

    with stage.run(system) as runner:
        counters = runner.get(Counters)
        assert counts(counters) == {"roll over": 3, "fetch ball": 2, "play dead": 1}

        runner.get(DogSchool).add_trick("Scrappy", "play dead")
        stage.settle(runner)
        assert counts(counters) == {"roll over": 3, "fetch ball": 2, "play dead": 2}
        assert increments(counters) == 7


@over([PRIVATE_POSTGRES])
def test_events_are_stored_compressed_and_encrypted(stage: Stage, place: Place) -> None:
    with stage.run(system) as runner:
        play(runner, stage.settle)
        school, counters = runner.get(DogSchool), runner.get(Counters)
        for app, name in ((school, b"Billy"), (counters, b"roll over")):
            state = app.recorder.select_notifications(None, 1)[0].state
            cipher = app.mapper.cipher
            assert cipher is not None
            assert name in zlib.decompress(cipher.decrypt(state))

    stolen = settings(place, {"DogSchool": postgres})
    with DogSchool(stolen) as school, pytest.raises(MapperDeserialisationError):
        school.get_dog("Billy")
    guessed = stage.environment(system) | {"DOGSCHOOL_CIPHER_KEY": AESCipher.create_key(32)}
    with DogSchool(guessed) as school, pytest.raises(MapperDeserialisationError):
        school.get_dog("Billy")


def test_the_system_is_named_by_its_place_in_a_module() -> None:
    assert list(system.nodes) == ["DogSchool", "Counters"]
    assert system.edges == [("DogSchool", "Counters")]
    assert system.topic == "examples.counters.system:system"
    assert resolve_topic(system.topic) is system


def test_a_dog_is_found_by_its_name_only() -> None:
    with DogSchool() as school:
        assert school.register_dog("Billy") == 1
        assert school.add_trick("Billy", "roll over") == 2
        with pytest.raises(IntegrityError):
            school.register_dog("Billy")
        with pytest.raises(AggregateNotFoundError):
            school.add_trick("Milly", "roll over")
        with pytest.raises(AggregateNotFoundError):
            school.get_dog("Milly")


def test_a_dog_and_a_counter_are_made_of_their_events() -> None:
    assert [type(made) for made in Dog("Billy").collect_events()] == [Dog.Registered]
    counter = Counter("roll over")
    counter.increment()
    assert [type(made) for made in counter.collect_events()] == [
        Counter.Created,
        Counter.Incremented,
    ]
