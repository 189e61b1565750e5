"""How fast the dog school is followed on Postgres, by the library's own runners and over Kafka.

All follow equal events on one server. The library's are given a part of them, which is kind:
their time for each grows with the counters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

from eventsourcing.projection import ProjectionRunner
from eventsourcing.system import Follower, MultiThreadedRunner, Runner, SingleThreadedRunner

from eventsourcing_kafka.compose.runner import KafkaProjectionRunner, KafkaRunner
from examples.counters.application import Counters
from examples.counters.system import system
from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog
from examples.tricks.postgres import PostgresTricksView
from examples.tricks.projection import Tricks
from tests.benchmarks.figures import Line, Sample, faster
from tests.benchmarks.servers import Environment, World, seconds_since

EVENTS = 20_000
DOGS = 200
TRICKS = [f"trick {number}" for number in range(20)]
PART = 10
"""The library's own runners follow one in so many events."""
SMALL_PART = 20
"""The same where they take five milliseconds for each."""

Settle = Callable[[Runner[UUID]], None]


def dog_school(world: World) -> Iterator[Line]:
    """Follow the school with each of the runners; the better one of the library's counts."""
    events = world.some(EVENTS)

    def rate(construct: Callable[..., Runner[UUID]], settle: Settle, count: int) -> float:
        return count / seconds(construct, settle, world.environment("SYSTEM"), count)

    rounds = [
        (
            rate(KafkaRunner, settled, events),
            max(
                rate(SingleThreadedRunner, pull, events // SMALL_PART),
                rate(MultiThreadedRunner, wait, events // SMALL_PART),
            ),
        )
        for _ in world.repeats
    ]
    kafka, library = map(Sample, zip(*rounds, strict=True))
    yield faster("dog school, KafkaRunner", kafka, "the better of the library's", library, 10.0)


def projection(world: World) -> Iterator[Line]:
    """Have a projection of the library's fill its rows, event by event, by both runners."""
    events = world.some(EVENTS)
    rounds = [
        (
            projected(KafkaProjectionRunner, world.environment("TRICKS"), events),
            projected(ProjectionRunner, world.environment("TRICKS"), events // PART),
        )
        for _ in world.repeats
    ]
    kafka, library = map(Sample, zip(*rounds, strict=True))
    what = "tricks, KafkaProjectionRunner"
    yield faster(what, kafka, "the library's ProjectionRunner", library, 10.0)


def projected(
    construct: type[KafkaProjectionRunner[Any, Any] | ProjectionRunner[Any, Any]],
    env: Environment,
    events: int,
) -> float:
    """Return how many events a second a runner takes, its start included."""
    with DogSchool(env) as school:
        teach(school, events)
        head = school.recorder.max_notification_id()
        assert head
    begin = time.perf_counter()
    with construct(
        application_class=DogSchool,
        projection_class=Tricks,
        view_class=PostgresTricksView,
        env=env,
    ) as runner:
        runner.wait(head, 600)
        return head / seconds_since(begin)


def teach(school: DogSchool, events: int) -> None:
    """Have the dogs learn in turn, as many tricks as there are to be events."""
    dogs = [Dog(f"dog {number}") for number in range(DOGS)]
    for number in range(events):
        dogs[number % DOGS].add_trick(TRICKS[number // DOGS % len(TRICKS)])
    school.save(*dogs)


def pull(runner: Runner[UUID]) -> None:
    """Have the follower take all that its leader has, as the library's own threads do."""
    counters: Follower[UUID] = runner.get(Counters)
    counters.pull_and_process(DogSchool.name)


def wait(runner: Runner[UUID]) -> None:
    """Prompt the follower, and wait until it has everything."""
    school, counters = runner.get(DogSchool), runner.get(Counters)
    last = school.add_trick("dog 0", TRICKS[0])
    counters.recorder.wait(DogSchool.name, last, timeout=600)


def settled(runner: Runner[UUID]) -> None:
    """Wait for all that there is."""
    assert isinstance(runner, KafkaRunner)
    runner.wait(600)


def seconds(
    construct: Callable[..., Runner[UUID]], settle: Settle, env: Mapping[str, str], events: int
) -> float:
    """Return how long a runner takes to follow that many events."""
    with DogSchool(env) as school:
        teach(school, events)
    begin = time.perf_counter()
    with construct(system, env) as runner:
        settle(runner)
        took = seconds_since(begin)
        counters = runner.get(Counters)
        assert sum(counters.get_count(trick) for trick in TRICKS) >= events
        return took
