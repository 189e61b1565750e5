"""Runs a system for a test, by each of the runners, on each of some persistences."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import pytest
from eventsourcing.system import Runner, System

from tests.layers import on

from .running import MULTI_THREADED, RUNNERS, SINGLE_THREADED, Running
from .storing import Persistence, Place


def over(persistences: Sequence[Persistence]) -> pytest.MarkDecorator:
    """Run a test that takes the `stage` by every runner on these persistences."""
    cases = [
        on(
            running,
            persistence,
            needs=running.servers | persistence.servers,
            name=f"{running.name}, {persistence.name}",
        )
        for running in RUNNERS
        for persistence in persistences
        if running is SINGLE_THREADED or not persistence.of_one_thread
        if running is not MULTI_THREADED or persistence.subscribes
    ]
    return pytest.mark.parametrize(("running", "persistence"), cases)


class Stage:
    """A runner and a persistence; what is durable is there again the next time."""

    def __init__(self, running: Running, persistence: Persistence, place: Place) -> None:
        self.settle = running.settle
        self._running = running
        self._persistence = persistence
        self._place = place

    def environment(self, system: System) -> dict[str, str]:
        """Return the environment in which the system runs."""
        kafka = self._place.kafka if "kafka" in self._running.servers else {}
        return {**self._persistence.environment(self._place, system), **kafka}

    def construct(self, system: System) -> Runner[UUID]:
        """Construct what runs the system, and do not start it."""
        return self._running.construct(system, self.environment(system))

    @contextmanager
    def run(self, system: System) -> Iterator[Runner[UUID]]:
        """Run the system."""
        with self.construct(system) as runner:
            yield runner
