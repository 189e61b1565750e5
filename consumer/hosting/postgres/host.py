"""Hosts an application or a projection whose recorder is in Postgres: a batch, a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

from eventsourcing.persistence import Tracking
from eventsourcing.projection import EventSourcedProjection
from psycopg import Connection

from eventsourcing_kafka.consumer.hosting.follower import Follower
from eventsourcing_kafka.consumer.hosting.postgres.collecting import CollectingRecorder
from eventsourcing_kafka.consumer.hosting.postgres.database import Database
from eventsourcing_kafka.consumer.hosting.postgres.lending import LendingCache
from eventsourcing_kafka.consumer.hosting.threads import BlockingConnection, in_thread, in_worker
from eventsourcing_kafka.consumer.unit_of_work import Event, Place

STAYS_OPEN = "SET idle_session_timeout = 0"


class PostgresHost:
    """Runs a follower's policy inside our transactions.

    The follower is this host's own: what a batch has in memory and has not committed is seen by
    nobody else. It is an application (`EventSourcedProjection`, `ProcessApplication`), whose
    aggregates are loaded once a batch and whose new events are inserted together; or a
    `Projection`, whose view writes event by event, in the same transaction.
    """

    def __init__(self, follower: Follower, database: Database, leader: str) -> None:
        self.leader = leader
        self.redriving = False
        """Whether what is processed was parked: each event is tracked under a name of its own then,
        as the library's tracking of the partition is past it."""
        self._follower = follower
        self._database = database

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[BlockingConnection]:
        """Take one of the follower's own connections, and have all its work go over that."""
        async with in_thread(self._database.connected()) as connection:
            # It is idle while nothing comes. All else is as the follower's own code expects it.
            await in_worker(BlockingConnection(connection).execute, STAYS_OPEN)
            yield BlockingConnection(connection)

    def unit_of_work(self, _schema: str) -> HostedUnitOfWork:
        """Return what one batch records."""
        return HostedUnitOfWork(self._follower, self._database, self.leader, apart=self.redriving)


class HostedUnitOfWork:
    """What a follower records during one batch."""

    def __init__(self, follower: Follower, database: Database, leader: str, *, apart: bool) -> None:
        self._follower = follower
        self._database = database
        self._leader = leader
        self._apart = apart
        self._collected: CollectingRecorder | None = None
        self._aggregates: LendingCache
        self._connection: Connection[Any]

    async def read(
        self,
        connection: Any,
        originators: Collection[str],  # noqa: ARG002 - a policy reads what it needs
        events: Sequence[Event],  # noqa: ARG002
    ) -> None:
        """Read nothing yet; what a policy reads is kept."""
        self._connection = connection.sync
        if isinstance(self._follower, EventSourcedProjection):
            self._collected = _collecting(self._follower, self._database)
            self._aggregates = _lend_aggregates(self._follower)

    def apply(self, event: Event, place: Place) -> None:
        """Have the follower process an event."""
        name = f"{self._leader}:{place.partition}"
        name += f":{place.position}" if self._apart else ""
        with self._all_or_nothing():
            self._follower.process_event(event, Tracking(name, place.position))

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Undo what was recorded for an event before its policy has raised."""
        if not (self._collected and isinstance(self._follower, EventSourcedProjection)):
            with self._connection.transaction():
                yield
            return
        mark = self._collected.mark()
        try:
            yield
        except BaseException:
            self._collected.forget(mark)
            self._aggregates = _lend_aggregates(self._follower)
            raise
        self._aggregates.settle(self._collected.recorded)

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing is known here of what an event would have done."""

    async def write(self, _connection: Any) -> None:
        """Insert together what was collected."""
        if self._collected:
            self._collected.write()


def _collecting(application: EventSourcedProjection[Any], database: Database) -> CollectingRecorder:
    """Have an application's events collected from now on."""
    recorder: Any = application.recorder
    stored = recorder.behind if isinstance(recorder, CollectingRecorder) else recorder
    collecting = CollectingRecorder(stored, database.insert)
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
