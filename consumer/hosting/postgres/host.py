"""Hosts an application or a projection whose recorder is in Postgres: a batch, a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore
from eventsourcing.projection import EventSourcedProjection
from psycopg import Connection
from psycopg.pq import TransactionStatus

from eventsourcing_kafka.consumer.engine.applying import PartlyAppliedError
from eventsourcing_kafka.consumer.hosting.follower import Follower
from eventsourcing_kafka.consumer.hosting.postgres.collecting import CollectingRecorder
from eventsourcing_kafka.consumer.hosting.postgres.lending import LendingCache
from eventsourcing_kafka.consumer.hosting.threads import BlockingConnection, in_thread, in_worker
from eventsourcing_kafka.consumer.unit_of_work import Event, Place
from eventsourcing_kafka.producer.runtime.retry import is_transient

INERROR = TransactionStatus.INERROR
STAYS_OPEN = "SET idle_session_timeout = 0"


class Undivided:
    """A connection of which a transaction, inside of a batch's, is a part that can't be undone.

    A savepoint takes a request, and so does its end: most of what an event costs. Whoever leaves
    such a transaction by an error is promised that nothing of it stays, so then `is_spoiled`.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self.is_spoiled = False

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[Any]:
        """Be a part of the batch's transaction; what is to be undone in any case is undone."""
        if force_rollback:
            with self._connection.transaction(savepoint_name, force_rollback) as transaction:
                yield transaction
            return
        try:
            yield None
        except BaseException:
            self.is_spoiled = True
            raise

    def __getattr__(self, name: str) -> Any:
        """Be the connection in all else."""
        return getattr(self._connection, name)


class PinnedPool:
    """Gives the one connection that a batch's transaction is on, whoever asks."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.pinned: Connection[Any] | Undivided | None = None

    @contextmanager
    def giving(self, connection: Connection[Any] | Undivided) -> Iterator[None]:
        """Give another face of it meanwhile."""
        pinned, self.pinned = self.pinned, connection
        try:
            yield
        finally:
            self.pinned = pinned

    @contextmanager
    def connection(self, *args: Any, **kwargs: Any) -> Iterator[Connection[Any] | Undivided]:
        """Give the pinned connection, or one of the pool's while none is."""
        if self.pinned is not None:
            yield self.pinned
        else:
            with self._pool.connection(*args, **kwargs) as connection:
                yield connection

    def __getattr__(self, name: str) -> Any:
        """Be the pool in all else."""
        return getattr(self._pool, name)


class PostgresHost:
    """Runs a follower's policy inside our transactions.

    The follower is this host's own: what a batch has in memory and has not committed is seen by
    nobody else. It is an application (`EventSourcedProjection`, `ProcessApplication`), whose
    aggregates are loaded once a batch and whose new events are inserted together; or a
    `Projection`, whose view writes event by event, in the same transaction.
    """

    def __init__(self, follower: Follower, datastore: PostgresDatastore, leader: str) -> None:
        self.leader = leader
        self.redriving = False
        """Whether what is processed was parked: each event is tracked under a name of its own then,
        as the library's tracking of the partition is past it."""
        self._follower = follower
        self._datastore = datastore
        self._pool = PinnedPool(datastore.pool)
        datastore.pool = self._pool  # type: ignore[assignment]

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[BlockingConnection]:
        """Take one of the follower's own connections, and have all its work go over that."""
        async with in_thread(self._datastore.get_connection()) as connection:
            # It is idle while nothing comes. All else is as the follower's own code expects it.
            await in_worker(BlockingConnection(connection).execute, STAYS_OPEN)
            self._pool.pinned = connection
            try:
                yield BlockingConnection(connection)
            finally:
                self._pool.pinned = None

    def unit_of_work(self, _schema: str) -> RecordingUnitOfWork | ProjectingUnitOfWork:
        """Return what one batch records."""
        if isinstance(self._follower, EventSourcedProjection):
            return RecordingUnitOfWork(self._follower, self.leader, apart=self.redriving)
        return ProjectingUnitOfWork(self._follower, self.leader, self._pool, apart=self.redriving)


class RecordingUnitOfWork:
    """What an application records during one batch: new events, inserted together."""

    def __init__(self, follower: EventSourcedProjection[Any], leader: str, *, apart: bool) -> None:
        self._follower = follower
        self._leader = leader
        self._apart = apart
        self._collected: CollectingRecorder
        self._aggregates: LendingCache

    async def read(
        self,
        _connection: Any,
        originators: Collection[str],  # noqa: ARG002 - a policy reads what it needs
        events: Sequence[Event],  # noqa: ARG002
    ) -> None:
        """Read nothing yet; what a policy reads is kept."""
        self._collected = _collecting(self._follower)
        self._aggregates = _lend_aggregates(self._follower)

    def apply(self, event: Event, place: Place) -> None:
        """Have the application process an event; what it has recorded when it raises is undone."""
        mark = self._collected.mark()
        try:
            self._follower.process_event(event, _tracking(self._leader, place, apart=self._apart))
        except BaseException:
            self._collected.forget(mark)
            self._aggregates = _lend_aggregates(self._follower)
            raise
        self._aggregates.settle(self._collected.recorded)

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing is known here of what an event would have done."""

    async def write(self, _connection: Any) -> None:
        """Insert together what was collected."""
        self._collected.write()


class ProjectingUnitOfWork:
    """What a projection's view writes during one batch, event by event.

    Of several events none can be undone by itself: if one has left a part of what it does, all of
    them are applied again, each in a unit of its own.
    """

    def __init__(self, follower: Follower, leader: str, pool: PinnedPool, *, apart: bool) -> None:
        self._follower = follower
        self._leader = leader
        self._pool = pool
        self._apart = apart
        self._connection: Connection[Any]
        self._apply: Callable[[Event, Tracking], None]

    async def read(
        self,
        connection: Any,
        originators: Collection[str],  # noqa: ARG002 - a policy reads what it needs
        events: Sequence[Event],
    ) -> None:
        """Read nothing: a view reads what it needs."""
        self._connection = connection.sync
        self._apply = self._undivided if len(events) > 1 else self._all_or_nothing

    def apply(self, event: Event, place: Place) -> None:
        """Have the projection process an event."""
        self._apply(event, _tracking(self._leader, place, apart=self._apart))

    def _all_or_nothing(self, event: Event, tracking: Tracking) -> None:
        with self._connection.transaction():
            self._follower.process_event(event, tracking)

    def _undivided(self, event: Event, tracking: Tracking) -> None:
        lent = Undivided(self._connection)
        try:
            with self._pool.giving(lent):
                self._follower.process_event(event, tracking)
        except Exception as error:
            if is_transient(error):
                raise
            raise PartlyAppliedError from error
        # It may have kept the error to itself.
        if lent.is_spoiled or self._connection.info.transaction_status is INERROR:
            raise PartlyAppliedError

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing is known here of what an event would have done."""

    async def write(self, _connection: Any) -> None:
        """All is written."""


def _tracking(leader: str, place: Place, *, apart: bool) -> Tracking:
    name = f"{leader}:{place.partition}"
    return Tracking(f"{name}:{place.position}" if apart else name, place.position)


def _collecting(application: EventSourcedProjection[Any]) -> CollectingRecorder:
    """Have an application's events collected from now on."""
    recorder: Any = application.recorder
    stored = recorder.behind if isinstance(recorder, CollectingRecorder) else recorder
    collecting = CollectingRecorder(stored)
    application.recorder = cast("Any", collecting)
    application.events.recorder = cast("Any", collecting)
    return collecting


def _lend_aggregates(application: EventSourcedProjection[Any]) -> LendingCache:
    """Have an application's aggregates kept from now on, beginning with none."""
    repository = application.repository
    repository.cache = aggregates = LendingCache()
    repository.fastforward = False  # Nobody else changes them, or what we record is refused.
    repository.deepcopy_from_cache = False
    return aggregates
