"""Reads how far everything is, while anybody watches, and keeps the last minutes of it.

Each part is read by itself, so that a slow one holds up no other. What was read is shown with its
age, and what is waited for too long as not answering.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

import anyio
from anyio import current_time

from eventsourcing_kafka.compose.audit.kept import last_audit
from eventsourcing_kafka.compose.monitor.overview import RATED_OVER, Sources, rate
from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.store import NotReplayableError, ViewStore
from eventsourcing_kafka.consumer.hosting.edge import edge_name
from eventsourcing_kafka.consumer.operations.status import PartitionStatus, gap_of
from eventsourcing_kafka.producer.relay import RelayStatus, TopicStatus
from eventsourcing_kafka.producer.runtime.health import READ_SECONDS, Down, read_or_down

OLD_SECONDS = 2.5
"""What was read longer ago than that is shown with its age."""
FIRST_SECONDS = 2.0
"""So long a page waits for what has not been read yet. Then it is shown without."""
HISTORY_SECONDS = 300.0
AUDIT_PACE = 3
"""Whether there was an audit is looked at less often than the rest."""
MOST_WATCHERS = 20

T = TypeVar("T")


class Pace(NamedTuple):
    """How often it is read, and how long one reading may take."""

    every_seconds: float = 1.0
    read_seconds: float = READ_SECONDS


DEFAULT_PACE = Pace()


class Point(NamedTuple):
    """What is kept of one reading; without figures, if it could not be read."""

    at: float
    done: int | None
    """What grows as the part comes on."""
    gap: int | None


class Reading(NamedTuple, Generic[T]):
    """What was found, and when."""

    at: float
    found: T | Down


class PartHistory(Generic[T]):
    """One part, as it is now and as it was during the last minutes."""

    def __init__(
        self,
        name: str,
        read: Callable[[], Awaitable[T]],
        done: Callable[[T], int],
        gap: Callable[[T], int | None],
        pace: Pace,
    ) -> None:
        self.name = name
        self.every_seconds = pace.every_seconds
        self.points: deque[Point] = deque(maxlen=int(HISTORY_SECONDS / pace.every_seconds))
        self._pace = pace
        self._read, self._done, self._gap = read, done, gap
        self._readings: deque[Reading[T]] = deque(maxlen=RATED_OVER)
        self._asked: float | None = None
        self._down_since: datetime | None = None

    async def read(self) -> None:
        """Read it once."""
        self._asked, asked_at = current_time(), datetime.now(UTC)
        try:
            found = await read_or_down(self._read, self._pace.read_seconds)
        finally:
            self._asked = None
        now = current_time()
        if self.is_old:  # No rate is told over what nobody has seen.
            self._readings.clear()
        self._readings.append(Reading(now, found))
        if isinstance(found, Down):
            self._down_since = self._down_since or asked_at
            self.points.append(Point(now, None, None))
        else:
            self._down_since = None
            self.points.append(Point(now, self._done(found), self._gap(found)))

    @property
    def age(self) -> float | None:
        """Seconds since it was read last; None if it never was."""
        return current_time() - self._readings[-1].at if self._readings else None

    @property
    def is_old(self) -> bool:
        """Whether it has not been read lately."""
        return self.age is None or self.age > OLD_SECONDS

    @property
    def found(self) -> T | Down | None:
        """What there is to show; None if that is not known yet."""
        waited = current_time() - self._asked if self._asked else 0.0
        if waited > self._pace.read_seconds:
            return Down(f"no answer for {waited:.0f} s")
        if self.age is None or self.age > self._pace.read_seconds + OLD_SECONDS:
            return None
        return self._readings[-1].found

    @property
    def down_since(self) -> datetime | None:
        """Since when it can't be read; None if it can, or if that is new."""
        return self._down_since

    def rate(self, of: Callable[[T], int] | None = None) -> float | None:
        """Return how fast a figure of it grows, in a second; None while that is not known."""
        of = of or self._done
        if not self._readings:
            return None
        first, last = self._readings[0], self._readings[-1]
        if isinstance(first.found, Down) or isinstance(last.found, Down):
            return None
        return rate(of(first.found), of(last.found), last.at - first.at)


class Poller:
    """Reads all parts about once a second, if there is anybody who watches."""

    def __init__(self, sources: Sources, pace: Pace) -> None:
        self.pace = pace
        self.heads = [
            PartHistory(name, read, lambda head: head, lambda _: 0, pace)
            for name, read in sources.heads.items()
        ]
        self.relays: Sequence[PartHistory[RelayStatus]] = [
            PartHistory(name, read, lambda row: row.position, lambda row: row.gap, pace)
            for name, read in sources.relays.items()
        ]
        self.topics: Sequence[PartHistory[TopicStatus]] = [
            PartHistory(name, read, lambda row: row.offsets, lambda _: 0, pace)
            for name, read in sources.topics.items()
        ]
        self.views: Sequence[PartHistory[Sequence[PartitionStatus]]] = [
            PartHistory(name, read, _records, gap_of, pace) for name, read in sources.views.items()
        ]
        self.audit = PartHistory(
            "audit",
            lambda: last_audit(_in_postgres(sources)),
            lambda _: 0,
            lambda _: 0,
            pace._replace(every_seconds=pace.every_seconds * AUDIT_PACE),
        )
        """The last audit of these views that is kept, whoever ran it."""
        self._applications = sources.applications
        self.hosted = sources.hosted
        """The names of those views that are followers."""
        self.replayable = {name for name, store in sources.stores.items() if _is_replayable(store)}
        self.watchers = 0
        self._somebody = anyio.Event()
        self._news = anyio.Event()

    def views_of(self, application: str) -> list[PartHistory[Sequence[PartitionStatus]]]:
        """Return those that follow an application."""
        return [view for view in self.views if self._applications[view.name] == application]

    def records_into(self, view: str) -> str:
        """Return the application that a follower is, if its own events are published; or nothing.

        A view is called after both, so it is told by that.
        """
        leader = self._applications[view]
        own = (head.name for head in self.heads if edge_name(head.name, leader) == view)
        return next(own, "") if view in self.hosted else ""

    @property
    def parts(self) -> Iterator[PartHistory[Any]]:
        """All parts."""
        return chain(self.heads, self.relays, self.topics, self.views)

    @property
    def is_full(self) -> bool:
        """Whether so many watch that nobody else should."""
        return self.watchers >= MOST_WATCHERS

    async def run(self) -> None:
        """Read for ever, while anybody watches."""
        async with anyio.create_task_group() as tasks:
            for history in chain(self.parts, [self.audit]):
                tasks.start_soon(self._follow, history)

    async def _follow(self, history: PartHistory[Any]) -> None:
        while True:
            await self._somebody.wait()
            await history.read()
            self._news.set()
            self._news = anyio.Event()
            await anyio.sleep(history.every_seconds)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have it read during the body."""
        self.watchers += 1
        self._somebody.set()
        try:
            yield
        finally:
            self.watchers -= 1
            if not self.watchers:
                self._somebody = anyio.Event()

    async def wait_until_fresh(self) -> None:
        """Wait until all parts have been read lately, within a bound of time."""
        with anyio.move_on_after(FIRST_SECONDS):
            while self.audit.age is None or any(history.is_old for history in self.parts):
                await self._news.wait()


def _is_replayable(store: Store) -> bool:
    try:
        store.check_replayable()
    except NotReplayableError:
        return False
    return True


def _in_postgres(sources: Sources) -> list[ViewStore]:
    return [store for store in sources.stores.values() if isinstance(store, ViewStore)]


def _records(rows: Sequence[PartitionStatus]) -> int:
    return sum(row.records for row in rows)
