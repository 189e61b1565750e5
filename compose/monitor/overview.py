"""How far everything is, read at once: the one source of what `top` shows, and a window may.

Every part is read by itself, from its true head. One that can't be read is `Down`, with the
reason, and never shown as it was last seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import anyio
import msgspec

from eventsourcing_kafka.compose.leaders import leaders_of
from eventsourcing_kafka.consumer.followers import (
    Followers,
    OpenFollowers,
    followers_of,
    opened_each,
)
from eventsourcing_kafka.consumer.operations.status import PartitionStatus, read_status
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import RelayStatus, TopicStatus, read_topic
from eventsourcing_kafka.producer.relay import read_status as read_relay_status
from eventsourcing_kafka.producer.runtime.applications import AnyApplication, open_to_read
from eventsourcing_kafka.producer.runtime.health import Down, read_or_down
from eventsourcing_kafka.producer.runtime.pipeline import Pipeline
from eventsourcing_kafka.producer.wire import wire_of

T = TypeVar("T")

RATED_OVER = 6
"""Readings: a rate is from the oldest of them to the latest."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """How far everything was, at one time."""

    at: datetime
    heads: Mapping[str, int | Down]
    """The highest position in the write model, by the name of the application."""
    relays: Mapping[str, RelayStatus | Down]
    """By the name of the application, too."""
    topics: Mapping[str, TopicStatus | Down]
    """By the name of the application, too."""
    views: Mapping[str, Sequence[PartitionStatus] | Down]

    @property
    def healthy(self) -> bool:
        """Whether all could be read, and nothing has stopped."""
        found = [
            part
            for parts in (self.heads, self.relays, self.topics, self.views)
            for part in parts.values()
        ]
        return not any(isinstance(each, Down) for each in found) and not any(
            row.stopped for row in self.rows
        )

    @property
    def rows(self) -> Sequence[PartitionStatus]:
        """The partitions of those views that could be read."""
        return [row for each in self.views.values() if not isinstance(each, Down) for row in each]


def rate(before: int | None, now: int | None, seconds: float) -> float | None:
    """Return how much a figure has grown in a second; None if that is not known."""
    if before is None or now is None or now < before or not seconds:
        return None
    return (now - before) / seconds


Reads = Mapping[str, Callable[[], Awaitable[T]]]
"""Reads one part each, by their names, for as long as it takes."""


class Sources:
    """Where it is read from: the write models, the topics, and the stores of the views.

    Who watches for long reads each part by itself, so that a slow one holds up no other.
    """

    def __init__(
        self,
        leaders: Collection[type[AnyApplication]],
        followers: Followers,
        opened: OpenFollowers,
        environment: Mapping[str, str],
    ) -> None:
        settings = KafkaSettings.from_env(environment)
        self.stores = opened.stores
        self.applications: Mapping[str, str] = {
            **{view.name: view.application_name for view in followers.views},
            **{name: edge.leader.name for name, edge in followers.edges.items()},
        }
        """What each view follows, by its name."""
        self.hosted: Collection[str] = followers.edges.keys()
        """The names of those views that are followers."""
        self._models = {leader.name: _LazyApplication(leader, environment) for leader in leaders}
        self.heads: Reads[int] = {name: model.head for name, model in self._models.items()}
        self.relays: Reads[RelayStatus] = {
            name: partial(model.status, settings) for name, model in self._models.items()
        }
        self.topics: Reads[TopicStatus] = {
            name: partial(read_topic, name, settings) for name in self._models
        }
        self.views: Reads[Sequence[PartitionStatus]] = {
            name: partial(_read_view, opened, name, settings) for name in self.applications
        }

    async def read(self) -> Overview:
        """Read how far everything is, all at once."""
        heads: dict[str, int | Down] = dict.fromkeys(self.heads, Down(""))
        relays: dict[str, RelayStatus | Down] = dict.fromkeys(self.relays, Down(""))
        topics: dict[str, TopicStatus | Down] = dict.fromkeys(self.topics, Down(""))
        views: dict[str, Sequence[PartitionStatus] | Down] = dict.fromkeys(self.views, Down(""))
        at = datetime.now(UTC)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read_all, self.heads, heads)
            tasks.start_soon(_read_all, self.relays, relays)
            tasks.start_soon(_read_all, self.topics, topics)
            tasks.start_soon(_read_all, self.views, views)
        return Overview(at=at, heads=heads, relays=relays, topics=topics, views=views)

    async def application(self, name: str) -> AnyApplication:
        """Return a write model, opened to be looked into."""
        return await self._models[name].open()

    def close(self) -> None:
        """Close the write models."""
        for model in self._models.values():
            model.close()


async def _read_view(
    opened: OpenFollowers, name: str, settings: KafkaSettings
) -> Sequence[PartitionStatus]:
    store = opened.stores.get(name) or await opened.opened_again(name)
    return await read_status(store, settings)


async def _read_all(reads: Reads[T], found: dict[str, T | Down]) -> None:
    async def keep(name: str, read: Callable[[], Awaitable[T]]) -> None:
        found[name] = await read_or_down(read)

    async with anyio.create_task_group() as tasks:
        for name, read in reads.items():
            tasks.start_soon(keep, name, read)


class _LazyApplication:
    """A write model, opened when its database first answers: the library waits long for one."""

    def __init__(self, leader: type[AnyApplication], environment: Mapping[str, str]) -> None:
        self._leader = leader
        self._environment = environment
        self._app: AnyApplication | None = None
        self._opening = anyio.Lock()

    async def head(self) -> int:
        """Read how far it is itself."""
        return await outbox_of(await self.open(), limit=1).head()

    async def status(self, settings: KafkaSettings) -> RelayStatus:
        """Read up to where it is published."""
        app = await self.open()
        wire = wire_of(app, decrypt=True)
        return await read_relay_status(outbox_of(app, limit=1), wire, settings)

    def close(self) -> None:
        """Close what was opened."""
        if self._app:
            self._app.close()

    async def open(self) -> AnyApplication:
        """Return it, opened once."""
        async with self._opening:
            self._app = self._app or await open_to_read(self._leader, self._environment)
        return self._app


@contextmanager
def opened_sources(
    environment: Mapping[str, str],
    names: Collection[str] = (),
    system: str | None = None,
    pipeline: Pipeline | None = None,
) -> Iterator[Sources]:
    """Open where the overview is read from: views and what they follow, or a system.

    Without names it is about all of the system, or of the pipeline; or else about all views that
    are installed.
    """
    followers = followers_of(names, system, pipeline)
    leaders = leaders_of(followers, pipeline, every=not (names or system))
    with opened_each(followers, environment) as found:
        sources = Sources(leaders, followers, found, environment)
        try:
            yield sources
        finally:
            sources.close()
