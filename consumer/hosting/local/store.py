"""Where a follower that is not in Postgres has come to, as its own recorder tells.

The library tracks positions, and neither identities nor offsets. Those are noted beside: before a
batch, of all that it is about to apply, and after it. So the record of the position that the
library has tracked is known, whenever the process ends; unless somebody else has moved it.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    nullcontext,
)
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from anyio import to_thread
from eventsourcing.persistence import ProcessRecorder
from eventsourcing.sqlite import SQLiteTrackingRecorder

from eventsourcing_kafka.consumer.engine.answers import Answer, already
from eventsourcing_kafka.consumer.engine.parking import Skip
from eventsourcing_kafka.consumer.engine.protocol import Again, Capabilities
from eventsourcing_kafka.consumer.engine.store import NotReplayableError, PartitionsChangedError
from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking, TrackingProgress
from eventsourcing_kafka.consumer.hosting.follower import why_not
from eventsourcing_kafka.consumer.hosting.local.host import LocalHost
from eventsourcing_kafka.consumer.hosting.local.parking import (
    LocalParking,
    MemoryParking,
    SQLiteParking,
)
from eventsourcing_kafka.consumer.hosting.local.sqlalchemy import SQLAlchemySQLite
from eventsourcing_kafka.consumer.hosting.local.sqlite import LibrarySQLite, Pinned, SQLiteDatabase
from eventsourcing_kafka.consumer.hosting.threads import in_worker
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.runtime.sqlalchemy import SQLITE, dialect_of
from eventsourcing_kafka.producer.wire.chain import Link
from eventsourcing_kafka.producer.wire.position import Published, reached_position

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


DELETE_FILE = (
    "its tables are beside the library's tracking, in a database of its own. Stop it, delete the "
    "file, and start it again: it is filled from the start."
)


def _database_of(recorder: Any) -> SQLiteDatabase | None:
    """Return the database of a recorder, if it has one."""
    if isinstance(recorder, SQLiteTrackingRecorder):
        return LibrarySQLite(recorder)
    return SQLAlchemySQLite(recorder) if dialect_of(recorder) == SQLITE else None


class LocalConnection:
    """What a batch is applied on, or parked events are redriven on.

    Each event is recorded in a transaction of the library's own. What the outermost one here adds
    is that nobody else in this process applies meanwhile, and that the batch's moves of the
    tracking are noted when all of it is done.
    """

    def __init__(self, lock: threading.RLock, tracking: LocalTracking) -> None:
        self.moves: dict[int, Move] = {}
        """Those of the batch that is being applied."""
        self.pinned: Pinned | None = None
        """The one transaction that all is in while parked events are redriven."""
        self._lock = lock
        self._tracking = tracking
        self._is_applying = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Begin a batch; or, in that, what is a savepoint where there are any."""
        if self._is_applying or self.pinned:
            with self.pinned.transaction(commit=True) if self.pinned else nullcontext():
                yield
            return
        with self._lock:
            self._is_applying = True
            try:
                yield
                self._tracking.note(self.moves.values())
            finally:
                self._is_applying = False
                self.moves = {}


class LocalTracking:
    """How far a follower is: positions as the library tracks them, offsets as we have noted."""

    def __init__(self, host: LocalHost, parking: LocalParking) -> None:
        self._host = host
        self._parking = parking
        self._noted: dict[int, Tracking] = {}

    async def read(
        self, connection: LocalConnection | None, partitions: Collection[int]
    ) -> Mapping[int, Tracking]:
        """Return the tracking of each of some partitions."""
        if connection:
            return self._read(partitions)
        return await to_thread.run_sync(self._read, partitions)

    async def move(self, connection: LocalConnection, moves: Sequence[Move]) -> Answer[bool]:
        """Have the rows noted, when the batch is done; False if one is not as it was seen.

        Who moves it after that is found out by the library, event by event.
        """
        return partial(already, self._have_moved(connection, moves))

    def _have_moved(self, connection: LocalConnection, moves: Sequence[Move]) -> bool:
        before = {number: move.to for number, move in connection.moves.items()}
        numbers = [move.seen.partition for move in moves]
        now = {**self._read(set(numbers) - before.keys()), **before}
        if any(now[move.seen.partition] != move.seen for move in moves):
            return False
        self._parking.begin(move for move in moves if move.seen.partition not in before)
        for move in moves:
            earlier = connection.moves.get(move.seen.partition)
            connection.moves[move.seen.partition] = (
                move._replace(seen=earlier.seen, records=earlier.records + move.records)
                if earlier
                else move
            )
        return True

    def note(self, moves: Collection[Move]) -> None:
        """Take note of what is applied, or not wanted."""
        self._parking.note(moves)
        self._noted |= {move.to.partition: move.to for move in moves}

    def move_alone(self, move: Move) -> bool:
        """Move one partition without applying anything; False if it is not as it was seen."""
        if self._at(move.seen.partition) != move.seen:
            return False
        self.note([move])
        return True

    async def count(self, connection: LocalConnection | None) -> int:
        """Return the number of partitions; 0 before a consumer has seen the topic."""
        if connection:
            return self._parking.count()
        return await to_thread.run_sync(self._parking.count)

    async def progress(self, _connection: Any) -> Sequence[TrackingProgress]:
        """Return how far each partition is, whichever process follows it."""
        return await to_thread.run_sync(self._progress)

    def _progress(self) -> Sequence[TrackingProgress]:
        return [
            row._replace(tracking=self._latest(row.tracking)) for row in self._parking.progress()
        ]

    def links(self) -> Mapping[int, Link]:
        """Return what is applied last of each partition, whichever process follows it."""
        return {row.tracking.partition: row.tracking.link for row in self._progress()}

    def _latest(self, noted: Tracking) -> Tracking:
        """Return what is noted; or what the library has tracked beyond it, before a batch ended."""
        position = self._host.position(noted.partition)
        if position <= noted.position:
            return noted
        begun = self._parking.begun(noted.partition, position)
        return begun or noted._replace(position=position, identity="")

    async def notify(self, _connection: Any) -> None:
        """Wake nobody: the library's recorders are asked again and again."""

    def _read(self, partitions: Collection[int]) -> Mapping[int, Tracking]:
        return {number: self._at(number) for number in partitions}

    def _at(self, partition: int) -> Tracking:
        """Return the tracking of a partition; without an identity if somebody else has moved it.

        The positions that the library tracks are those of events that the follower wants.
        """
        position = self._host.position(partition)
        if (noted := self._noted.get(partition)) and position <= noted.position:
            return noted
        noted = self._parking.noted(partition)
        if position > noted.position:
            noted = self._parking.begun(partition, position) or Tracking(partition, position, 0)
        self._noted[partition] = noted
        return noted


class LocalStore:
    """Where a follower in SQLite, or in memory, is kept."""

    def __init__(self, view: View, host: LocalHost) -> None:
        self.view = view
        self.schema = view.name
        self._database = _database_of(host.recorder)
        self.capabilities = Capabilities(
            replayable=False,
            concurrent=False,
            atomic=False,
            tracks_offsets=False,
            marked=True,
            reachable=bool(self._database and not self._database.is_in_memory),
        )
        self.parking: LocalParking = (
            SQLiteParking(host, self._database) if self._database else MemoryParking(host)
        )
        self.tracking = LocalTracking(host, self.parking)
        self.floor = 0
        self._host = host
        self._lock = threading.RLock()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Connect to nothing: the recorder has its own connections."""
        yield None

    @asynccontextmanager
    async def working(self, _settings: Mapping[str, str]) -> AsyncIterator[LocalConnection]:
        """Open what a batch is applied on."""
        yield LocalConnection(self._lock, self.tracking)

    def run(self, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> Awaitable[T]:
        """Do some work in a worker thread: the follower's policy and its recorder block."""
        return in_worker(work, *args)

    def transaction(
        self,
        connection: LocalConnection,
        *,
        whole_batch: bool = False,  # noqa: ARG002 - others need it
    ) -> AbstractAsyncContextManager[Any]:
        """Begin a batch; or, in that, what is a savepoint where there are any."""
        return connection.transaction()

    async def check_deferred(self, connection: LocalConnection) -> None:
        """Check nothing: each record is a transaction of its own."""

    @asynccontextmanager
    async def redriving(self, connection: LocalConnection) -> AsyncIterator[None]:
        """Begin a transaction in which consumers neither park nor apply anything.

        In memory there are no transactions: what was applied before an error is applied.
        """
        with self._lock, self._pinned() as transaction:
            connection.pinned = transaction
            self._host.redriving = True
            try:
                yield
            finally:
                self._host.redriving = False
                connection.pinned = None

    def _pinned(self) -> AbstractContextManager[Pinned | None]:
        return self._database.pinned() if self._database else nullcontext()

    async def prepare(self, connection: Any, partitions: int, *, indexed: bool = True) -> None:  # noqa: ARG002
        """Take note of how many partitions there are, and of what the library's runner has applied.

        Raises `PartitionsChangedError` if it is another count than before.
        """
        if self.parking.expect(partitions) != partitions:
            raise PartitionsChangedError(self.view, partitions)
        self.floor = await self.read_floor(connection)

    async def check(self, connection: Any) -> None:
        """Check nothing: whatever is there is as the library makes it."""

    async def read_floor(self, _connection: Any) -> int:
        """Return up to where the library's own runner, or an earlier consumer, has applied all."""
        return self._host.mark()

    async def raise_mark(
        self, _connection: Any, candidates: Sequence[Published]
    ) -> Mapping[int, Link]:
        """Say under the library's own name up to where all is applied."""
        return await to_thread.run_sync(self._raise_mark, candidates)

    def _raise_mark(self, candidates: Sequence[Published]) -> Mapping[int, Link]:
        with self._lock:  # Not in the one transaction of a redrive.
            links = self.tracking.links()
            if position := reached_position(candidates, links):
                self._host.raise_mark(position)
            return links

    def why_not(self, again: Again) -> str:
        """Tell why it can't be rebuilt, or one aggregate of it be replayed, or looked at."""
        return why_not(self._host.recorder, again)

    def check_replayable(self, _partitions: Collection[int] | None = None) -> None:
        """Raise `NotReplayableError`: what is recorded is recorded."""
        if isinstance(self._host.recorder, ProcessRecorder):
            raise NotReplayableError(self.view.name)
        raise NotReplayableError(self.view.name, DELETE_FILE)

    async def replay(self, _connection: Any, partitions: Collection[int] | None = None) -> None:
        """Raise `NotReplayableError`: what is recorded is recorded."""
        self.check_replayable(partitions)

    async def move(self, _connection: Any, move: Move) -> bool:
        """Move one partition without applying anything; False if it is not as it was seen."""
        return await to_thread.run_sync(self._move, move)

    def _move(self, move: Move) -> bool:
        with self._lock:
            return self.tracking.move_alone(move)

    async def skip(self, connection: Any, skip: Skip) -> None:
        """Have records passed over that are not applied yet, and record that for ever."""
        if await self.move(connection, Move(skip.seen, skip.seen)):
            await to_thread.run_sync(self.parking.record_skip, skip)
