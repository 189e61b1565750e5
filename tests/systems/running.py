"""The runners that run the systems, and how to wait until what was done has gone through."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from eventsourcing.system import Follower, MultiThreadedRunner, Runner, SingleThreadedRunner

from eventsourcing_kafka.compose.runner import KafkaRunner
from tests.pipeline import SECONDS

Settle = Callable[[Any], None]


@dataclass(frozen=True)
class Running:
    """A way to run a system."""

    name: str
    construct: Callable[..., Runner[UUID]]
    """Takes the system and its environment."""
    settle: Settle
    """Takes the runner, and returns when all that was done before has gone through."""
    servers: frozenset[str] = frozenset()
    """The fixtures that it needs."""


def at_once(_: Runner[UUID]) -> None:
    """Return: every command has taken its events through the system before it returned."""


def when_followed(runner: MultiThreadedRunner[UUID]) -> None:
    """Wait until every follower has the last event that it wants of its leader.

    Pipes are listed from their beginning: who follows a follower is asked after that one is done.
    """
    for leader_name, follower_name in runner.system.edges:
        leader = runner.apps[leader_name]
        follower = cast("Follower[UUID]", runner.apps[follower_name])
        wanted = leader.recorder.select_notifications(None, 1_000_000, topics=follower.topics)
        follower.recorder.wait(
            leader_name,
            wanted[-1].id if wanted else None,
            timeout=SECONDS,
            interrupt=runner.has_errored,
        )


SINGLE_THREADED = Running("single-threaded", SingleThreadedRunner, at_once)
MULTI_THREADED = Running("multi-threaded", MultiThreadedRunner, when_followed)

RUNNERS = [
    SINGLE_THREADED,
    MULTI_THREADED,
    Running("Kafka", KafkaRunner, KafkaRunner.wait, servers=frozenset({"kafka"})),
]
