"""One edge of a system: a follower that follows one leader, made ready for the consumer's loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, TrackingRecorder
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.utils import resolve_topic
from psycopg import AsyncConnection

from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.protocol import Capabilities, Store
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.engine.tracking import LONGEST_NAME
from eventsourcing_kafka.consumer.hosting.follower import Follower
from eventsourcing_kafka.consumer.hosting.local.host import LocalHost
from eventsourcing_kafka.consumer.hosting.local.store import LocalStore
from eventsourcing_kafka.consumer.hosting.postgres.host import PostgresHost
from eventsourcing_kafka.consumer.hosting.threads import in_worker
from eventsourcing_kafka.consumer.unit_of_work import UnitOfWork
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.compat import raise_tracking
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.postgres import connect_arguments
from eventsourcing_kafka.producer.wire import EventTypes
from eventsourcing_kafka.producer.wire.discovery import event_types_of

SOME_SYSTEM = "MODULE:SYSTEM"
"""Where a runner is told no name of it, who operates it knows where it is."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class HostedStore(ViewStore):
    """Where a follower in Postgres has come to: in a schema for this edge, beside its tables."""

    capabilities = Capabilities(replayable=False, concurrent=False, marked=True)

    def __init__(self, host: PostgresHost, view: View, recorder: PostgresTrackingRecorder) -> None:
        super().__init__(view, partial(connect_arguments, recorder.datastore), view.name, {})
        self._host = host
        self._recorder = recorder

    async def prepare(self, connection: Any, partitions: int, *, indexed: bool = True) -> None:
        """Create what is not there yet, and see what the library's own runner has applied."""
        await super().prepare(connection, partitions, indexed=indexed)
        self.floor = self._recorder.max_tracking_id(self.view.application_name) or 0

    async def raise_mark(self, connection: AsyncConnection[Any], position: int) -> None:
        """Say under the library's own name that all is applied up to a position."""
        await raise_tracking(connection, self._recorder, self.view.application_name, position)

    def working(self, _settings: Mapping[str, str]) -> AbstractAsyncContextManager[Any]:
        """Open the follower's own connection: all that it does is in the same transaction."""
        return self._host.connected()

    def run(self, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> Awaitable[T]:
        """Do some work on it in a worker thread: the follower's policy blocks."""
        return in_worker(work, *args)

    @asynccontextmanager
    async def redriving(self, connection: Any) -> AsyncIterator[None]:
        """Begin a transaction in which consumers neither park nor apply anything."""
        self._host.redriving = True
        try:
            async with super().redriving(connection):
                yield
        finally:
            self._host.redriving = False


def follow(
    name: str,
    follower: Follower,
    recorder: TrackingRecorder,
    leader: type[Application[Any]],
    mapper: Mapper[Any],
    settings: KafkaSettings,
    on_error: OnError = OnError.PARK,
    system: str = SOME_SYSTEM,
) -> Consumer:
    """Return the consumer that has a follower, with its recorder, follow a leader.

    `mapper` is the leader's. The follower must be nobody else's if its recorder is in Postgres:
    what it has in memory during a batch is not committed yet. Raises `SettingsError` if their
    names are too long together.
    """
    store = store_of(name, follower, recorder, leader, mapper, system)
    return Consumer(store, settings, on_error=on_error)


def store_of(
    name: str,
    follower: Follower,
    recorder: TrackingRecorder,
    leader: type[Application[Any]],
    mapper: Mapper[Any],
    system: str = SOME_SYSTEM,
) -> Store:
    """Return where a follower has come to. Hints name it as one of `system`."""
    edge = edge_name(name, leader.name)
    if isinstance(recorder, PostgresTrackingRecorder):
        _check_length(edge)
        host = PostgresHost(follower, recorder.datastore, leader.name)
        view = _view(edge, follower, leader, mapper, system, host.unit_of_work)
        return HostedStore(host, view, recorder)
    local = LocalHost(follower, recorder, leader.name)
    view = _view(edge, follower, leader, mapper, system, local.unit_of_work)
    return LocalStore(view, local)


def edge_name(follower: str, leader: str) -> str:
    """Return what an edge is called: its schema, its group, and it on the command line."""
    return f"{follower}_{leader}".lower()


def _check_length(edge: str) -> None:
    if len(edge.encode()) > LONGEST_NAME:
        raise SettingsError(
            f"{edge!r} would be the schema of what this follower has tracked, and Postgres cuts "
            f"names after {LONGEST_NAME} bytes, so that two of them could be taken for one. Give "
            "the follower or its leader a shorter `name`."
        )


def _view(
    name: str,
    follower: Follower,
    leader: type[Application[Any]],
    mapper: Mapper[Any],
    system: str,
    unit_of_work: Callable[[str], UnitOfWork],
) -> View:
    types = event_types_of(leader)
    # Wherever their classes are defined.
    named = [types.register(resolve_topic(topic)) for topic in getattr(follower, "topics", ())]
    return View(
        name=name,
        application_name=leader.name,
        types=types,
        wanted=EventTypes(known.cls for known in named or types),
        tables=(),
        create=(),
        unit_of_work=unit_of_work,
        mapper=mapper,
        system=system,
    )
