"""How fast the dog school is followed on Postgres: `python -m tests.bench.hosting [EVENTS]`.

The library's own runners and KafkaRunner follow equal events, in one run, on one server. The
library's are given a part of them, which is kind: their time for each grows with the counters.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import typer
from anyio.from_thread import start_blocking_portal
from eventsourcing.system import Follower, MultiThreadedRunner, Runner, SingleThreadedRunner

from compose.kafka import Kafka
from compose.postgres import Postgres
from compose.stack import postgres_environment
from consumer.counters.application import Counters
from consumer.counters.system import system
from consumer.runner import KafkaRunner
from producer.dogschool.application import DogSchool
from producer.dogschool.domainmodel import Dog

DOGS = 200
TRICKS = [f"trick {number}" for number in range(20)]
PART = 10
"""The library's own runners follow one in so many events."""

Settle = Callable[[Runner[UUID]], None]


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
        took = time.perf_counter() - begin
        counters = runner.get(Counters)
        assert sum(counters.get_count(trick) for trick in TRICKS) >= events
        return took


@contextmanager
def environments() -> Iterator[Callable[[str], dict[str, str]]]:
    """Start the servers; gives the settings for a database of each name."""
    with (
        tempfile.TemporaryDirectory() as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Postgres(Path(folder, "postgres"))) as postgres,
        portal.wrap_async_context_manager(Kafka(Path(folder, "kafka"))) as kafka,
    ):

        def environment(name: str) -> dict[str, str]:
            portal.call(postgres.create_database, name)
            return {
                **postgres_environment(postgres, {"SYSTEM": name}),
                "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            }

        yield environment


def main(events: int) -> None:
    """Print events per second of each, and how many times the best of the library's ours is."""
    with environments() as environment:
        part = events // PART
        library = {
            runner.__name__: part
            / seconds(runner, settle, environment(runner.__name__.lower()), part)
            for runner, settle in ((SingleThreadedRunner, pull), (MultiThreadedRunner, wait))
        }
        kafka = events / seconds(KafkaRunner, settled, environment("kafka"), events)
    for name, rate in {**library, "Kafka": kafka}.items():
        typer.echo(f"{name:16} {rate:8,.0f} events/s")
    typer.echo(f"{kafka / max(library.values()):.1f} times")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
