"""Chains, diamonds, loops and several pipes, over Kafka and Postgres."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from eventsourcing.system import Runner, SingleThreadedRunner

from eventsourcing_kafka.compose.runner import KafkaRunner
from examples.dogschool.application import DogSchool

from .awkward import TRICKS
from .tallying import (
    VOLLEYS,
    Bottom,
    Left,
    Ping,
    Pong,
    Right,
    Tally,
    Tallying,
    chain,
    diamond,
    loop,
    several,
)

DOGS = ("Billy", "Milly", "Scrappy", "Spot")


def teach(school: DogSchool, tricks: Sequence[str] = TRICKS) -> None:
    """Teach every dog every trick; the dogs are on different partitions."""
    for name in DOGS:
        school.register_dog(name)
        for trick in tricks:
            school.add_trick(name, trick)


def counts(app: Tallying) -> list[int]:
    return [app.count(trick) for trick in TRICKS]


def counted(app: Tallying) -> dict[str, list[int]]:
    """Return every count that was ever recorded, in order."""
    recorded: dict[str, list[int]] = {}
    for notification in app.recorder.select_notifications(None, 10_000):
        event = app.mapper.to_domain_event(notification)
        if isinstance(event, Tally.Counted):
            recorded.setdefault(event.name, []).append(event.count)
    return recorded


@pytest.mark.parametrize("partitions", ["1", "3", "8"])
def test_a_follower_that_records_events_is_followed(env: dict[str, str], partitions: str) -> None:
    with KafkaRunner(chain, {**env, "KAFKA_TOPIC_PARTITIONS": partitions}) as runner:
        teach(runner.get(DogSchool))
        runner.wait()

        assert counts(runner.get(Left)) == [4, 4, 4]
        assert counts(runner.get(Bottom)) == [4, 4, 4]


def test_a_follower_of_two_counts_what_both_of_them_record(env: dict[str, str]) -> None:
    """Two consumers record events of the same aggregates: where they conflict, one tries again."""
    with KafkaRunner(diamond, env) as runner:
        teach(runner.get(DogSchool))
        runner.wait()

        assert counts(runner.get(Left)) == counts(runner.get(Right)) == [4, 4, 4]
        assert counted(runner.get(Bottom)) == {trick: [*range(1, 9)] for trick in TRICKS}


def rally(runner: Runner[UUID]) -> list[int]:
    """Return how often both have hit the ball."""
    return [runner.get(Ping).count("ball"), runner.get(Pong).count("ball")]


def test_a_loop_comes_to_rest_where_it_does_without_kafka(env: dict[str, str]) -> None:
    with KafkaRunner(loop, env) as runner:
        runner.get(Ping).serve("ball")
        runner.wait()
        over_kafka = rally(runner)

    with SingleThreadedRunner[UUID](loop) as single:
        single.get(Ping).serve("ball")
        assert over_kafka == rally(single) == [VOLLEYS + 1, VOLLEYS]


def test_several_pipes_run_side_by_side(env: dict[str, str]) -> None:
    with KafkaRunner(several, env) as runner:
        runner.get(Ping).serve("ball")
        teach(runner.get(DogSchool))
        runner.wait()

        assert counts(runner.get(Left)) == counts(runner.get(Right)) == [4, 4, 4]
        assert rally(runner) == [VOLLEYS + 1, VOLLEYS]


def test_what_happened_while_nothing_ran_is_caught_up_with(env: dict[str, str]) -> None:
    with DogSchool(env) as school:
        teach(school)

    for _ in range(2):
        with KafkaRunner(chain, env) as runner:
            runner.wait()
            assert counts(runner.get(Bottom)) == [4, 4, 4]
