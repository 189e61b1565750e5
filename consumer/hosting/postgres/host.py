"""Hosts an application or a projection whose recorder is in Postgres: a batch, a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, cast

from eventsourcing.persistence import Tracking, TrackingRecorder
from eventsourcing.projection import EventSourcedProjection
from psycopg import Connection

from eventsourcing_kafka.consumer.engine.refusals import PartlyAppliedError
from eventsourcing_kafka.consumer.hosting.follower import Follower
from eventsourcing_kafka.consumer.hosting.postgres.collecting import (
    CollectingRecorder,
    collected_tracking,
)
from eventsourcing_kafka.consumer.hosting.postgres.database import Database, Undivided
from eventsourcing_kafka.consumer.hosting.postgres.lending import Aggregates, LendingCache
from eventsourcing_kafka.consumer.hosting.threads import BlockingConnection, in_thread, in_worker
from eventsourcing_kafka.consumer.unit_of_work import Event, Place
from eventsourcing_kafka.producer.runtime.retry import is_transient

STAYS_OPEN = "SET idle_session_timeout = 0"


class PostgresHost:
    """Runs a follower's policy inside our transactions.

    The follower is this host's own: what a batch has in memory and has not committed is seen by
    nobody else. It is an application (`EventSourcedProjection`, `ProcessApplication`), whose
    aggregates are looked for once a batch, and kept for the next one, and whose new events are
    inserted together; or a `Projection`, whose view writes event by event, in the same transaction.
    """

    def __init__(
        self, follower: Follower, recorder: TrackingRecorder, database: Database, leader: str
    ) -> None:
        self.leader = leader
        self.redriving = False
        """Whether what is processed was parked: each event is tracked under a name of its own then,
        as the library's tracking of the partition is past it."""
        self._follower = follower
        self._recorder = recorder
        self._database = database
        self._aggregates = Shelf()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[BlockingConnection]:
        """Take one of the follower's own connections, and have all its work go over that."""
        async with in_thread(self._database.connected()) as connection:
            # It is idle while nothing comes. All else is as the follower's own code expects it.
            await in_worker(BlockingConnection(connection).execute, STAYS_OPEN)
            yield ShelvingConnection(connection, self._aggregates)

    def unit_of_work(self, _schema: str) -> RecordingUnitOfWork | ProjectingUnitOfWork:
        """Return what one batch records."""
        if isinstance(self._follower, EventSourcedProjection):
            return RecordingUnitOfWork(
                self._follower, self._database, self._aggregates, self.leader, apart=self.redriving
            )
        return ProjectingUnitOfWork(
            self._follower, self._recorder, self._database, self.leader, apart=self.redriving
        )


class Shelf:
    """Keeps aggregates from one batch to the next, if that was not undone."""

    def __init__(self) -> None:
        self.kept: Aggregates = {}

    def take(self) -> Aggregates:
        """Return what is there, and leave nothing."""
        taken, self.kept = self.kept, {}
        return taken


class ShelvingConnection(BlockingConnection):
    """A connection on which nothing is kept of what is undone."""

    def __init__(self, connection: Connection[Any], shelf: Shelf) -> None:
        super().__init__(connection)
        self._shelf = shelf

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Begin a transaction, or a savepoint in one."""
        try:
            async with super().transaction() as transaction:
                yield transaction
        except BaseException:
            self._shelf.take()
            raise


class RecordingUnitOfWork:
    """What an application records during one batch: new events, inserted together."""

    def __init__(
        self,
        follower: EventSourcedProjection[Any],
        database: Database,
        shelf: Shelf,
        leader: str,
        *,
        apart: bool,
    ) -> None:
        self._follower = follower
        self._database = database
        self._shelf = shelf
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
        self._collected = _collecting(self._follower, self._database)
        self._lend(self._shelf.take())

    def apply(self, event: Event, place: Place) -> None:
        """Have the application process an event; what it has recorded when it raises is undone."""
        mark = self._collected.mark()
        try:
            self._follower.process_event(event, _tracking(self._leader, place, apart=self._apart))
        except BaseException:
            self._collected.forget(mark)
            self._collected.last.clear()
            self._lend({})
            raise
        self._aggregates.settle(self._collected.recorded)

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing is known here of what an event would have done."""

    async def write(self, _connection: Any) -> None:
        """Insert together what was collected."""
        self._collected.write()
        self._shelf.kept = self._aggregates.to_keep(self._collected.last)

    def _lend(self, kept: Aggregates) -> None:
        """Have the application's aggregates kept from now on, beginning with these."""
        repository = self._follower.repository
        repository.cache = self._aggregates = LendingCache(self._collected.behind, kept)
        repository.fastforward = False  # Nobody else changes them, or what we record is refused.
        repository.deepcopy_from_cache = False


class ProjectingUnitOfWork:
    """What a projection's view writes during one batch, event by event.

    Of several events none can be undone by itself: if one has left a part of what it does, all of
    them are applied again, each in a unit of its own. Nor are their statements waited for where
    nobody asks for an answer, and how far they are is tracked once for all of them.
    """

    def __init__(
        self,
        follower: Follower,
        recorder: TrackingRecorder,
        database: Database,
        leader: str,
        *,
        apart: bool,
    ) -> None:
        self._follower = follower
        self._recorder = recorder
        self._database = database
        self._leader = leader
        self._apart = apart
        self._connection: Connection[Any]
        self._together = ExitStack()
        self._lent: Undivided | None = None

    async def read(
        self,
        connection: Any,
        originators: Collection[str],  # noqa: ARG002 - a policy reads what it needs
        events: Sequence[Event],
    ) -> None:
        """Read nothing: a view reads what it needs."""
        self._connection = connection.sync
        if len(events) > 1 and (undivided := self._database.undivided()):
            self._lent = self._together.enter_context(undivided)
            self._together.enter_context(collected_tracking(self._recorder))

    def apply(self, event: Event, place: Place) -> None:
        """Have the projection process an event."""
        tracking = _tracking(self._leader, place, apart=self._apart)
        if self._lent:
            with self._as_part_of(self._lent):
                self._follower.process_event(event, tracking)
        else:
            with self._connection.transaction():
                self._follower.process_event(event, tracking)

    @contextmanager
    def _as_part_of(self, lent: Undivided) -> Iterator[None]:
        """Give up all of the batch if an event has left a part of what it does.

        Why is what the database has said first: it may concern an earlier event.
        """
        try:
            yield
            lent.check()
        except Exception as error:
            self._together.__exit__(type(error), error, error.__traceback__)
            reason = lent.failure or error
            if not is_transient(reason):
                raise PartlyAppliedError from reason
            if reason is not error:
                raise reason from error
            raise

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing is known here of what an event would have done."""

    async def write(self, _connection: Any) -> None:
        """Track how far it is; all else is sent already, and here it is answered."""
        if self._lent:
            with self._as_part_of(self._lent):
                self._together.close()


def _tracking(leader: str, place: Place, *, apart: bool) -> Tracking:
    name = f"{leader}:{place.partition}"
    return Tracking(f"{name}:{place.position}" if apart else name, place.position)


def _collecting(application: EventSourcedProjection[Any], database: Database) -> CollectingRecorder:
    """Have an application's events collected from now on."""
    recorder: Any = application.recorder
    stored = recorder.behind if isinstance(recorder, CollectingRecorder) else recorder
    collecting = CollectingRecorder(stored, database.insert)
    application.recorder = cast("Any", collecting)
    application.events.recorder = cast("Any", collecting)
    return collecting
