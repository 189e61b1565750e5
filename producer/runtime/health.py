"""Telling those who watch a process how its loops are doing: metrics, and whether all is well.

Nothing is told from memory. Whoever asks has the standing of each loop read from the true head,
within a bound of time; when it can't be read that is the answer, and no figure is given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import anyio
import msgspec
from anyio import current_time
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from eventsourcing_kafka.producer.runtime.metrics import PREFIX, REGISTRY
from eventsourcing_kafka.producer.runtime.retry import LoopHealth, describe

READ_SECONDS = 3.0
"""So long a reading of the standing may take; then it can't be read."""

STANDS_SECONDS = 330.0
"""A loop that has not moved for so long, with work before it all the time, is not healthy.

It is longer than any batch may take. What a loop notices itself, it tells at once.
"""

READY_LAG_SECONDS = 30.0
"""Who is further behind than that is not ready."""

R = TypeVar("R")
T = TypeVar("T")


class Down(msgspec.Struct, frozen=True):
    """What stands in the place of a standing that can't be read."""

    down: str
    """Why it can't."""


async def read_or_down(read: Callable[[], Awaitable[T]]) -> T | Down:
    """Read a standing, within a bound of time."""
    try:
        with anyio.fail_after(READ_SECONDS):
            return await read()
    except TimeoutError:
        return Down(f"no answer within {READ_SECONDS:.0f} s")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not known how far it is
        return Down(describe(error))


class PartitionProgress(NamedTuple):
    """How far one sequence of events is: an application's, or a partition's of a view."""

    name: str
    at: int
    """What grows as it comes on."""
    gap: int
    lag_seconds: float
    ours: bool
    """Whether this process is to bring it on."""
    stopped: str | None = None


class Gauge(NamedTuple, Generic[R]):
    """A figure that is read when asked for."""

    name: str
    meaning: str
    of: Callable[[R], float | None]
    """Takes a row of the standing; None if there is nothing to tell."""


class Flag(NamedTuple):
    """What is so, or is not, of a loop."""

    name: str
    meaning: str
    value: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a loop was found when somebody asked."""

    part: str
    healthy: bool
    """It goes on, or has nothing to do; and the true head, which that is compared with, is read."""
    ready: bool
    """It is healthy, and as far as the true head but for some seconds."""
    why: Sequence[str]
    """What keeps it from being healthy, or ready."""
    standing: Sequence[Any]
    """How far it is; empty if that can't be read."""


class HealthCheck(ABC, Generic[R]):
    """A loop of this process that is watched."""

    kind: ClassVar[str]
    label: ClassVar[str]
    """What `name` is a name of, in the labels of its metrics."""
    labels: ClassVar[Sequence[str]] = ()
    """Further ones, which the rows have as attributes."""
    gauges: ClassVar[Sequence[Gauge[Any]]]

    def __init__(self, name: str, health: LoopHealth) -> None:
        self.name = name
        self.health = health
        self._standing_since: dict[str, tuple[int, float]] = {}

    @abstractmethod
    async def read(self) -> Sequence[R]:
        """Read how far it is, from the true head; nothing while there is no topic yet."""

    @abstractmethod
    def progress(self, row: R) -> PartitionProgress:
        """Return what there is to judge of a row."""

    async def report(self) -> Report:
        """Look how it is doing."""
        faults = [f"has ended: {self.health.ended}"] if self.health.ended else []
        if self.health.lost:
            faults.append(self.health.lost)
        standing: Sequence[R] = ()
        match await read_or_down(self.read):
            case Down(why):
                faults.append(f"its true head can't be read: {why}")
            case found:
                standing = found
        progresses = [self.progress(row) for row in standing]
        faults += [fault for progress in progresses if (fault := self._fault(progress))]
        behind = (
            ["there is no topic yet"]
            if not faults and not progresses
            else list(_behind(progresses))
        )
        return Report(
            part=f"{self.kind} {self.name}",
            healthy=not faults,
            ready=not faults and not behind,
            why=[*faults, *behind],
            standing=standing,
        )

    def flags(self, report: Report) -> Iterator[Flag]:
        """Yield what is so, or is not."""
        yield Flag("healthy", "1 if /healthz finds it well.", report.healthy)
        yield Flag("ready", "1 if /readyz finds it well.", report.ready)

    def metrics(self, report: Report) -> Iterator[Metric]:
        """Yield what a look has found."""
        prefix, its = f"{PREFIX}{self.kind}_", [self.name]
        restarts = CounterMetricFamily(
            f"{prefix}restarts",
            "Times that its clients were started again, as a server was lost or one was stuck.",
            labels=[self.label],
        )
        restarts.add_metric(its, self.health.restarts)
        yield restarts
        for flag in self.flags(report):
            family = GaugeMetricFamily(f"{prefix}{flag.name}", flag.meaning, labels=[self.label])
            family.add_metric(its, flag.value)
            yield family
        for gauge in self.gauges:
            family = GaugeMetricFamily(
                f"{prefix}{gauge.name}", gauge.meaning, labels=[self.label, *self.labels]
            )
            for row in report.standing:
                if (found := gauge.of(row)) is not None:
                    family.add_metric(
                        [*its, *(str(getattr(row, label)) for label in self.labels)], found
                    )
            yield family

    def _fault(self, progress: PartitionProgress) -> str | None:
        """Tell what is wrong with one that does not come on though there is work."""
        if progress.stopped:
            return f"{progress.name} has stopped: {progress.stopped}"
        now = current_time()
        at, since = self._standing_since.get(progress.name, (progress.at, now))
        if not progress.gap or not progress.ours:
            self._standing_since.pop(progress.name, None)
            return None
        if at != progress.at:
            since = now
        self._standing_since[progress.name] = progress.at, since
        if now - since < STANDS_SECONDS:
            return None
        stands = f"{progress.name} stands at {progress.at} for {now - since:.0f} s"
        return f"{stands}, with a gap of {progress.gap}"


def _behind(progresses: Sequence[PartitionProgress]) -> Iterator[str]:
    for progress in progresses:
        if progress.gap and progress.lag_seconds > READY_LAG_SECONDS:
            yield f"{progress.name} is behind: gap {progress.gap}, lag {progress.lag_seconds:.0f} s"


class Exposed:
    """All that is measured, for prometheus-client to print."""

    def __init__(self, found: Iterable[tuple[HealthCheck[Any], Report]]) -> None:
        self._families: dict[str, Metric] = {}
        for part, report in found:
            for family in part.metrics(report):
                self._families.setdefault(family.name, family)
                if (first := self._families[family.name]) is not family:
                    first.samples += family.samples

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted, and what was found."""
        for family in REGISTRY.collect():
            # When a counter was made says nothing that the start of the process does not.
            family.samples = [at for at in family.samples if not at.name.endswith("_created")]
            yield family
        yield from self._families.values()
