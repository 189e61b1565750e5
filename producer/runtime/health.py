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
from eventsourcing_kafka.producer.runtime.retry import Vitals, describe

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


async def reading(read: Callable[[], Awaitable[T]]) -> T | Down:
    """Read a standing, within a bound of time."""
    try:
        with anyio.fail_after(READ_SECONDS):
            return await read()
    except TimeoutError:
        return Down(f"no answer within {READ_SECONDS:.0f} s")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not known how far it is
        return Down(describe(error))


class Line(NamedTuple):
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


class Look(msgspec.Struct, frozen=True, kw_only=True):
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


class Watched(ABC, Generic[R]):
    """A loop of this process that is watched."""

    kind: ClassVar[str]
    label: ClassVar[str]
    """What `name` is a name of, in the labels of its metrics."""
    labels: ClassVar[Sequence[str]] = ()
    """Further ones, which the rows have as attributes."""
    gauges: ClassVar[Sequence[Gauge[Any]]]

    def __init__(self, name: str, vitals: Vitals) -> None:
        self.name = name
        self.vitals = vitals
        self._standing_since: dict[str, tuple[int, float]] = {}

    @abstractmethod
    async def read(self) -> Sequence[R]:
        """Read how far it is, from the true head; nothing while there is no topic yet."""

    @abstractmethod
    def line(self, row: R) -> Line:
        """Return what there is to judge of a row."""

    async def look(self) -> Look:
        """Look how it is doing."""
        faults = [f"has ended: {self.vitals.ended}"] if self.vitals.ended else []
        if self.vitals.lost:
            faults.append(f"waits for its server: {self.vitals.lost}")
        standing: Sequence[R] = ()
        match await reading(self.read):
            case Down(why):
                faults.append(f"its true head can't be read: {why}")
            case found:
                standing = found
        lines = [self.line(row) for row in standing]
        faults += [fault for line in lines if (fault := self._fault(line))]
        behind = ["there is no topic yet"] if not faults and not lines else list(_behind(lines))
        return Look(
            part=f"{self.kind} {self.name}",
            healthy=not faults,
            ready=not faults and not behind,
            why=[*faults, *behind],
            standing=standing,
        )

    def flags(self, look: Look) -> Iterator[Flag]:
        """Yield what is so, or is not."""
        yield Flag("healthy", "1 if /healthz finds it well.", look.healthy)
        yield Flag("ready", "1 if /readyz finds it well.", look.ready)

    def metrics(self, look: Look) -> Iterator[Metric]:
        """Yield what a look has found."""
        prefix, its = f"{PREFIX}{self.kind}_", [self.name]
        restarts = CounterMetricFamily(
            f"{prefix}restarts",
            "Times that its clients were started again, as a server was lost or one was stuck.",
            labels=[self.label],
        )
        restarts.add_metric(its, self.vitals.restarts)
        yield restarts
        for flag in self.flags(look):
            family = GaugeMetricFamily(f"{prefix}{flag.name}", flag.meaning, labels=[self.label])
            family.add_metric(its, flag.value)
            yield family
        for gauge in self.gauges:
            family = GaugeMetricFamily(
                f"{prefix}{gauge.name}", gauge.meaning, labels=[self.label, *self.labels]
            )
            for row in look.standing:
                if (found := gauge.of(row)) is not None:
                    family.add_metric(
                        [*its, *(str(getattr(row, label)) for label in self.labels)], found
                    )
            yield family

    def _fault(self, line: Line) -> str | None:
        """Tell what is wrong with one that does not come on though there is work."""
        if line.stopped:
            return f"{line.name} has stopped: {line.stopped}"
        now = current_time()
        at, since = self._standing_since.get(line.name, (line.at, now))
        if not line.gap or not line.ours:
            self._standing_since.pop(line.name, None)
            return None
        if at != line.at:
            since = now
        self._standing_since[line.name] = line.at, since
        if now - since < STANDS_SECONDS:
            return None
        return f"{line.name} stands at {line.at} for {now - since:.0f} s, with a gap of {line.gap}"


def _behind(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if line.gap and line.lag_seconds > READY_LAG_SECONDS:
            yield f"{line.name} is behind: gap {line.gap}, lag {line.lag_seconds:.0f} s"


class Exposed:
    """All that is measured, for prometheus-client to print."""

    def __init__(self, found: Iterable[tuple[Watched[Any], Look]]) -> None:
        self._families: dict[str, Metric] = {}
        for part, look in found:
            for family in part.metrics(look):
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
