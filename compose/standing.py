"""How far everything is, read at once: the one source of what `top` shows, and a window may.

Every part is read by itself, from its true head. One that can't be read is `Down`, with the
reason, and never shown as it was last seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import anyio
import msgspec
from eventsourcing.application import Application

from consumer.commands.stores import opened_stores
from consumer.hosting.systems import edges_named
from consumer.status import PartitionStatus, read_status
from consumer.store import ViewStore
from producer.applications import open_reached
from producer.contentmanagement.application import ContentManagement
from producer.outbox import outbox_of
from producer.relay import RelayStatus, TopicStatus, read_topic
from producer.relay import read_status as read_relay_status
from producer.wire import EventTypes, KafkaSettings, WireFormat
from producer.wire.watching import Down, reading

T = TypeVar("T")


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far everything was, at one time."""

    at: datetime
    relays: Mapping[str, RelayStatus | Down]
    """By the name of the application."""
    topics: Mapping[str, TopicStatus | Down]
    """By the name of the application, too."""
    views: Mapping[str, Sequence[PartitionStatus] | Down]

    @property
    def well(self) -> bool:
        """Whether all could be read, and nothing has stopped."""
        found = [*self.relays.values(), *self.topics.values(), *self.views.values()]
        rows = [row for each in self.views.values() if not isinstance(each, Down) for row in each]
        return not any(isinstance(each, Down) for each in found) and not any(
            row.stopped for row in rows
        )


class Sources:
    """Where it is read from: the write models, the topics, and the stores of the views."""

    def __init__(
        self,
        leaders: Collection[type[Application[Any]]],
        stores: Collection[ViewStore],
        environment: Mapping[str, str],
    ) -> None:
        self._settings = KafkaSettings.from_env(environment)
        self._leaders = {leader.name: _WriteModel(leader, environment) for leader in leaders}
        self._stores = {store.view.name: store for store in stores}

    async def read(self) -> Standing:
        """Read how far everything is, all at once."""
        relays: dict[str, RelayStatus | Down] = {}
        topics: dict[str, TopicStatus | Down] = {}
        views: dict[str, Sequence[PartitionStatus] | Down] = {}
        at = datetime.now(UTC)
        async with anyio.create_task_group() as tasks:
            for name, leader in self._leaders.items():
                tasks.start_soon(_keep, relays, name, partial(leader.status, self._settings))
                tasks.start_soon(_keep, topics, name, partial(read_topic, name, self._settings))
            for name, store in self._stores.items():
                tasks.start_soon(_keep, views, name, partial(read_status, store, self._settings))
        return Standing(
            at=at,
            relays={name: relays[name] for name in self._leaders},
            topics={name: topics[name] for name in self._leaders},
            views={name: views[name] for name in self._stores},
        )

    def close(self) -> None:
        """Close the write models."""
        for leader in self._leaders.values():
            leader.close()


async def _keep(found: dict[str, T | Down], name: str, read: Callable[[], Awaitable[T]]) -> None:
    found[name] = await reading(read)


class _WriteModel:
    """A write model, opened when its database first answers: the library waits long for one."""

    def __init__(self, leader: type[Application[Any]], environment: Mapping[str, str]) -> None:
        self._leader = leader
        self._environment = {**environment, "CREATE_TABLE": "no"}  # We only look.
        self._app: Application[Any] | None = None

    async def status(self, settings: KafkaSettings) -> RelayStatus:
        """Read up to where it is published."""
        if self._app is None:
            self._app = await open_reached(self._leader, self._environment)
        wire = WireFormat(self._leader.name, EventTypes(), self._app.mapper, decrypt=True)
        return await read_relay_status(outbox_of(self._app, limit=1), wire, settings)

    def close(self) -> None:
        """Close what was opened."""
        if self._app:
            self._app.close()


@contextmanager
def opened_sources(environment: Mapping[str, str], system: str | None) -> Iterator[Sources]:
    """Open where the standing is read from: the wiki and its views, or a system's applications."""
    leaders = {edge.leader for edge in edges_named(system).values()} if system else ()
    with opened_stores((), system, environment) as stores:
        sources = Sources(leaders or [ContentManagement], stores, environment)
        try:
            yield sources
        finally:
            sources.close()
