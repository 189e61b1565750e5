"""How fast the dog school is followed on Postgres, by the library's own runners and over Kafka.

All follow equal events on one server. The library's are given a part of them, which is kind:
their time for each grows with the counters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from uuid import UUID

from eventsourcing.system import Follower, MultiThreadedRunner, Runner, SingleThreadedRunner

from eventsourcing_kafka.compose.runner import KafkaRunner
from examples.counters.application import Counters
from examples.counters.system import system
from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog
from tests.benchmarks.figures import Line, Sample, faster
from tests.benchmarks.servers import World, seconds_since

EVENTS = 20_000
DOGS = 200
TRICKS = [f"trick {number}" for number in range(20)]
PART = 10
"""The library's own runners follow one in so many events."""

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
                rate(SingleThreadedRunner, pull, events // PART),
                rate(MultiThreadedRunner, wait, events // PART),
            ),
        )
        for _ in world.repeats
    ]
    kafka, library = map(Sample, zip(*rounds, strict=True))
    yield faster("dog school, KafkaRunner", kafka, "the better of the library's", library, 10.0)


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
