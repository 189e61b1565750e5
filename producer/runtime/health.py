"""Health checks: how far the loops of a process are, whether they are healthy, and the metrics.

Nothing is reported from memory. At each request the progress of each loop is compared with the true
head, within a bound of time; when that can't be read, this is the answer, and no figure is given.
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
from eventsourcing_kafka.producer.runtime.servers import asking

READ_SECONDS = 3.0
"""How long it may take to read a loop's progress; after that it counts as unreadable."""

STANDS_SECONDS = 330.0
"""A loop that has made no progress for so long, with work to do all the time, is not healthy.

It is longer than any batch may take. Errors that the loop itself notices are reported at once.
"""

READY_LAG_SECONDS = 30.0
"""A loop with a longer lag than that is not ready."""

R = TypeVar("R")
T = TypeVar("T")


class Down(msgspec.Struct, frozen=True):
    """What is returned in the place of what can't be read."""

    down: str
    """Why it can't."""


async def read_or_down(read: Callable[[], Awaitable[T]], seconds: float = READ_SECONDS) -> T | Down:
    """Read how far something is, within so many seconds; return why if that can't be read."""
    with asking() as asked:
        try:
            with anyio.fail_after(seconds):
                return await read()
        except TimeoutError:
            who = f" from {asked.server}" if asked.server else ""
            return Down(f"no answer{who} within {seconds:.0f} s")
        except Exception as error:  # noqa: BLE001 - whatever it is, it can't be read
            return Down(describe(error))


class PartitionProgress(NamedTuple):
    """How far one sequence of events is: an application's, or a partition's of a view."""

    name: str
    at: int
    """A position or an offset, which grows with all progress."""
    gap: int | None
    """None if it can't be known."""
    lag_seconds: float
    """Infinite where it is not known, and long."""
    ours: bool
    """Whether it is this process that has to make progress there."""
    stopped: str | None = None
    """Why an operator is needed before it goes on."""


class Gauge(NamedTuple, Generic[R]):
    """A figure that is read when asked for."""

    name: str
    meaning: str
    of: Callable[[R], float | None]
    """Takes a row of what was read; returns None if the row has no such figure."""


class Flag(NamedTuple):
    """A figure that is 1 or 0."""

    name: str
    meaning: str
    value: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one health check. Its fields are those of the answers over HTTP."""

    part: str
    """The loop."""
    healthy: bool
    """It makes progress, or has nothing to do, compared with the true head, which could be read."""
    ready: bool
    """It is healthy, and at most `READY_LAG_SECONDS` behind the true head."""
    why: Sequence[str]
    """What keeps it from being healthy, or ready."""
    standing: Sequence[Any]
    """The rows that were read; empty if they can't be read."""


class HealthCheck(ABC, Generic[R]):
    """The health check of a loop of this process. `R` is a row of what is read of it."""

    kind: ClassVar[str]
    """The kind of loop, in the names of its metrics."""
    label: ClassVar[str]
    """The label of its metrics whose value is `name`."""
    labels: ClassVar[Sequence[str]] = ()
    """Further labels, whose values are attributes of the rows."""
    gauges: ClassVar[Sequence[Gauge[Any]]]
    read_seconds: float = READ_SECONDS
    """How long it may take to read the rows."""

    def __init__(self, name: str, health: LoopHealth) -> None:
        self.name = name
        self.health = health
        self._unmoved_since: dict[str, tuple[int, float]] = {}

    @abstractmethod
    async def read(self) -> Sequence[R]:
        """Read how far it is from the true head; nothing while there is no topic yet."""

    @abstractmethod
    def progress(self, row: R) -> PartitionProgress:
        """Return what the health is judged by, out of a row."""

    def lost(self) -> Sequence[str]:
        """Return why it does not come on by itself: servers that it waits for."""
        return [self.health.lost] if self.health.lost else []

    async def report(self) -> Report:
        """Read how far it is, and judge it."""
        faults = [f"has ended: {self.health.ended}"] if self.health.ended else []
        faults += self.lost()
        standing: Sequence[R] = ()
        match await read_or_down(self.read, self.read_seconds):
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
        """Yield the figures that are 1 or 0."""
        yield Flag("healthy", "1 if /healthz finds it well.", report.healthy)
        yield Flag("ready", "1 if /readyz finds it well.", report.ready)

    def metrics(self, report: Report) -> Iterator[Metric]:
        """Yield the metrics of what was found."""
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
        """Return what is wrong with a sequence that makes no progress though there is work."""
        if progress.stopped:
            return f"{progress.name} has stopped: {progress.stopped}"
        now = current_time()
        at, since = self._unmoved_since.get(progress.name, (progress.at, now))
        if not progress.gap or not progress.ours:
            self._unmoved_since.pop(progress.name, None)
            return None
        if at != progress.at:
            since = now
        self._unmoved_since[progress.name] = progress.at, since
        if now - since < STANDS_SECONDS:
            return None
        stands = f"{progress.name} stands at {progress.at} for {now - since:.0f} s"
        return f"{stands}, with a gap of {progress.gap}"


def _behind(progresses: Sequence[PartitionProgress]) -> Iterator[str]:
    for progress in progresses:
        if progress.gap is None:
            yield f"{progress.name}: what is applied last is not there, so its gap is not known"
        elif progress.gap and progress.lag_seconds > READY_LAG_SECONDS:
            yield f"{progress.name} is behind: gap {progress.gap}, lag {progress.lag_seconds:.0f} s"


class Exposed:
    """All metrics of a process as prometheus-client's collector, to print them once."""

    def __init__(self, found: Iterable[tuple[HealthCheck[Any], Report]]) -> None:
        self._families: dict[str, Metric] = {}
        for part, report in found:
            for family in part.metrics(report):
                self._families.setdefault(family.name, family)
                if (first := self._families[family.name]) is not family:
                    first.samples += family.samples

    def collect(self) -> Iterator[Metric]:
        """Yield what the loops have counted, and what the health checks have found."""
        for family in REGISTRY.collect():
            # The time when a counter was made says no more than the start of the process does.
            family.samples = [at for at in family.samples if not at.name.endswith("_created")]
            yield family
        yield from self._families.values()
