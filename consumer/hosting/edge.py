"""One edge of a system: a follower that follows one leader, made ready for the consumer's loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, TypeVarTuple, cast

from eventsourcing.application import Application
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.persistence import DCBMapper
from eventsourcing.persistence import Mapper, ProcessRecorder, TrackingRecorder
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import EventSourcedProjection
from eventsourcing.utils import resolve_topic
from psycopg import AsyncConnection

from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.protocol import Again, Capabilities, OpenWriteModel, Store
from eventsourcing_kafka.consumer.engine.store import NotReplayableError, ViewStore
from eventsourcing_kafka.consumer.engine.tracking import LONGEST_NAME
from eventsourcing_kafka.consumer.hosting.follower import Emptied, Follower, why_not
from eventsourcing_kafka.consumer.hosting.local.host import LocalHost
from eventsourcing_kafka.consumer.hosting.local.store import LocalStore
from eventsourcing_kafka.consumer.hosting.postgres.database import Database, LibraryDatabase
from eventsourcing_kafka.consumer.hosting.postgres.host import PostgresHost
from eventsourcing_kafka.consumer.hosting.postgres.sqlalchemy import SQLAlchemyDatabase
from eventsourcing_kafka.consumer.hosting.threads import in_worker
from eventsourcing_kafka.consumer.unit_of_work import UnitOfWork
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.compat import delete_tracking, raise_tracking
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.postgres import connect_arguments
from eventsourcing_kafka.producer.runtime.sqlalchemy import (
    POSTGRES,
    SQLITE,
    dialect_of,
    is_sqlalchemy,
)
from eventsourcing_kafka.producer.wire import EventTypes
from eventsourcing_kafka.producer.wire.chain import Link
from eventsourcing_kafka.producer.wire.discovery import event_types_of
from eventsourcing_kafka.producer.wire.position import Published, reached_position

if TYPE_CHECKING:
    from eventsourcing_sqlalchemy.recorders import (
        SQLAlchemyRecorder,
        SQLAlchemyTrackingRecorder,
    )

SOME_SYSTEM = "MODULE:SYSTEM"
"""Where a runner is told no name of it, who operates it knows where it is."""

PARTITION_AND_POSITION = len(":999:99999999")
"""What is added to the name of a leader at most, where an event that was parked is tracked."""

InPostgres: TypeAlias = "PostgresTrackingRecorder | SQLAlchemyTrackingRecorder"

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


NOT_EMPTIED = (
    "only its view knows how to empty its tables, and has no method empty_for_replay() that does. "
    "Give it one; or project with a new one, under another name."
)
NO_PARTITION = "it is emptied as a whole, so all of its partitions are applied again, or none."


class HostedStore(ViewStore):
    """Where a follower in Postgres has come to: in a schema for this edge, beside its tables."""

    capabilities = Capabilities(replayable=False, concurrent=False, marked=True)

    def __init__(self, host: PostgresHost, view: View, recorder: InPostgres) -> None:
        super().__init__(view, partial(connect_arguments, recorder.datastore), view.name, {})
        self._host = host
        self._recorder = recorder

    async def prepare(self, connection: Any, partitions: int, *, indexed: bool = True) -> None:
        """Create what is not there yet, and see what the library's own runner has applied."""
        await super().prepare(connection, partitions, indexed=indexed)
        self.floor = await self.read_floor(connection)

    async def read_floor(self, _connection: Any) -> int:
        """Return up to where the library's own runner, or an earlier consumer, has applied all."""
        return self._recorder.max_tracking_id(self.view.application_name) or 0

    async def raise_mark(
        self, connection: AsyncConnection[Any], candidates: Sequence[Published]
    ) -> Mapping[int, Link]:
        """Say under the library's own name up to where all is applied."""
        async with connection.transaction():
            await self.tracking.hold_replays(connection)
            links = await super().raise_mark(connection, candidates)
            if position := reached_position(candidates, links):
                name = self.view.application_name
                await raise_tracking(connection, self._recorder, name, position)
        return links

    def why_not(self, again: Again) -> str:
        """Tell why it can't be rebuilt, or one aggregate of it be replayed, or looked at."""
        why = why_not(self._recorder, again)
        if isinstance(self._recorder, ProcessRecorder) or not isinstance(self._recorder, Emptied):
            return why
        replay = f"eventsourcing-kafka consumer replay {self.view.arguments}"
        return f"{why} Or replay it as a whole: {replay}"

    def check_replayable(self, partitions: Collection[int] | None = None) -> None:
        """Raise `NotReplayableError` unless it is a view that says how it is emptied."""
        if isinstance(self._recorder, ProcessRecorder):
            raise NotReplayableError(self.view.name)
        if not isinstance(self._recorder, Emptied):
            raise NotReplayableError(self.view.name, NOT_EMPTIED)
        if partitions:
            raise NotReplayableError(self.view.name, NO_PARTITION)

    async def replay(self, _connection: Any, partitions: Collection[int] | None = None) -> None:
        """Empty the view, and forget all that was applied; consumers that run start over."""
        self.check_replayable(partitions)
        async with self.working({}) as connection:
            await self.run(self._replay, connection)

    async def _replay(self, connection: Any) -> None:
        assert isinstance(self._recorder, Emptied)  # noqa: S101 - it was checked
        async with connection.transaction():
            await self.hold(connection)
            self._recorder.empty_for_replay()
            await delete_tracking(connection, self._recorder, self.view.application_name)
            await connection.execute(self.sql("DELETE FROM {schema}.parked"))
            numbers = range(await self.tracking.count(connection))
            await self.tracking.reset(connection, numbers)
            await self.tracking.notify(connection)

    def working(self, _settings: Mapping[str, str]) -> AbstractAsyncContextManager[Any]:
        """Open the follower's own connection: all that it does is in the same transaction."""
        return self._host.connected()

    def run(self, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> Awaitable[T]:
        """Do some work on it in a worker thread: the follower's policy blocks."""
        return in_worker(work, *args)

    def transaction(
        self,
        connection: Any,
        *,
        whole_batch: bool = False,  # noqa: ARG002 - others need it
    ) -> AbstractAsyncContextManager[Any]:
        """Begin a transaction, or a savepoint in one; its host tells whether it has failed."""
        return cast("AbstractAsyncContextManager[Any]", connection.transaction())

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
    leader: type[Application[Any] | DCBApplication],
    mapper: Mapper[Any] | DCBMapper[Any],
    settings: KafkaSettings,
    on_error: OnError = OnError.PARK,
    system: str = SOME_SYSTEM,
    *,
    write_model: Callable[[View], OpenWriteModel] | None = None,
) -> Consumer:
    """Return the consumer that has a follower, with its recorder, follow a leader.

    `mapper` is the leader's, and so is the `write_model`, which a view of it is opened for. The
    follower must be nobody else's if its recorder is in Postgres: what it has in memory during a
    batch is not committed yet. Raises `SettingsError` if their names are too long together.
    """
    store = store_of(name, follower, recorder, leader, mapper, system)
    opens = write_model(store.view) if write_model else None
    return Consumer(store, settings, on_error=on_error, write_model=opens)


def store_of(
    name: str,
    follower: Follower,
    recorder: TrackingRecorder,
    leader: type[Application[Any] | DCBApplication],
    mapper: Mapper[Any] | DCBMapper[Any],
    system: str = SOME_SYSTEM,
) -> Store:
    """Return where a follower has come to. Hints name it as one of `system`.

    Raises `SettingsError` if nothing can be kept beside what it stores.
    """
    edge = edge_name(name, leader.name)
    if is_sqlalchemy(recorder):
        _check_sqlalchemy(name, recorder)
        if dialect_of(recorder) == POSTGRES and not isinstance(follower, EventSourcedProjection):
            _check_tracked_name(name, recorder, leader.name)
    if database := _in_postgres(recorder):
        _check_length(edge)
        host = PostgresHost(follower, recorder, database, leader.name)
        view = _view(edge, follower, leader, mapper, system, host.unit_of_work)
        return HostedStore(host, view, cast("InPostgres", recorder))
    local = LocalHost(follower, recorder, leader.name)
    view = _view(edge, follower, leader, mapper, system, local.unit_of_work)
    return LocalStore(view, local)


def is_in_postgres(recorder: TrackingRecorder) -> bool:
    """Tell whether a follower is hosted there: it must be nobody else's then."""
    return isinstance(recorder, PostgresTrackingRecorder) or dialect_of(recorder) == POSTGRES


def _in_postgres(recorder: TrackingRecorder) -> Database | None:
    """Return the way to the database of a recorder that is in Postgres."""
    if isinstance(recorder, PostgresTrackingRecorder):
        return LibraryDatabase(recorder.datastore)
    if is_sqlalchemy(recorder) and dialect_of(recorder) == POSTGRES:
        return SQLAlchemyDatabase(recorder.datastore)
    return None


def _check_sqlalchemy(name: str, recorder: SQLAlchemyRecorder) -> None:
    """Raise `SettingsError` for what can't be followed with."""
    if recorder.datastore.scoped_session is not None:
        raise SettingsError(
            f"{name} is to record in a session that somebody else commits, and a follower commits "
            "by itself: unset SQLALCHEMY_SCOPED_SESSION_TOPIC for it, and set SQLALCHEMY_URL."
        )
    if (dialect := dialect_of(recorder)) not in {POSTGRES, SQLITE}:
        raise SettingsError(
            f"{name} stores in {dialect}: a follower can do so in Postgres and in SQLite only. Set "
            "SQLALCHEMY_URL."
        )


def _check_tracked_name(name: str, recorder: SQLAlchemyRecorder, leader: str) -> None:
    """Raise `SettingsError` if Postgres would refuse what a view tracks of the leader."""
    table = cast("SQLAlchemyTrackingRecorder", recorder).tracking_table
    longest = table.c.application_name.type.length  # type: ignore[attr-defined]
    if longest and len(leader) > longest - PARTITION_AND_POSITION:
        raise SettingsError(
            f"{leader!r} is too long: {name} tracks each of its partitions in a column of "
            f"{longest} characters. Give the leader a `name` of at most "
            f"{longest - PARTITION_AND_POSITION}."
        )


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
    leader: type[Application[Any] | DCBApplication],
    mapper: Mapper[Any] | DCBMapper[Any],
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
