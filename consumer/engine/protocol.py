"""What whoever applies, and whoever operates, asks of the place where a view is kept.

There are four such places: a view in Postgres (`store`), and a follower of the library's that is
hosted on Postgres, on SQLite or in memory (`hosting`). One applier serves them all; where they
differ, they say so by their `Capabilities`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar, TypeVarTuple

from eventsourcing_kafka.consumer.engine.answers import Answer
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord
from eventsourcing_kafka.consumer.engine.parking import Dropped, Parked, SetAside, Skip
from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking, TrackingProgress
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.wire import Record
from eventsourcing_kafka.producer.wire.chain import Link
from eventsourcing_kafka.producer.wire.position import Published

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True)
class Capabilities:
    """What a store can do, and others can't."""

    replayable: bool = True
    """What it has applied can be forgotten, and applied again. What records events of its own
    can't: they would be recorded, and published, a second time."""
    concurrent: bool = True
    """Several workers may apply to it at once, each on a connection of its own."""
    atomic: bool = True
    """A batch is one transaction. Otherwise each of its records is one."""
    tracks_offsets: bool = True
    """Whoever asks is told how far it is in Kafka. Otherwise only its consumer knows: what the
    library tracks is positions."""
    reachable: bool = True
    """Another process finds here what one has recorded."""
    marked: bool = False
    """It keeps the low-water mark as well, for those who wait as the library waits."""


class Again(StrEnum):
    """What is to be done with events that are applied already, in the words of a refusal."""

    REPLAYED = "replayed"
    ONE_AGGREGATE = "replayed aggregate by aggregate"
    REBUILT = "rebuilt"
    STEPPED = "looked at step by step"


class TrackingStore(Protocol):
    """Keeps how far each partition is applied."""

    async def read(self, connection: Any, partitions: Collection[int]) -> Mapping[int, Tracking]:
        """Return the tracking of each of some partitions."""

    async def move(self, connection: Any, moves: Sequence[Move]) -> Answer[bool]:
        """Move from exactly what was seen; False, and nothing is kept, if it is not so any more."""

    async def count(self, connection: Any) -> int:
        """Return the number of partitions; 0 if it is not known."""

    async def progress(self, connection: Any) -> Sequence[TrackingProgress]:
        """Return how far each partition is, and what there is to say about it."""

    async def notify(self, connection: Any) -> None:
        """Wake those who wait for a position, when the transaction commits."""


class ParkingStore(Protocol):
    """Keeps what is parked, and what was dropped."""

    async def set_aside(
        self, connection: Any, records: Sequence[ConsumedRecord]
    ) -> Answer[SetAside]:
        """Return what of some records is to be treated otherwise than applied."""

    async def park(self, connection: Any, record: ConsumedRecord, reason: Exception | None) -> bool:
        """Set a record aside; without a reason of its own it is behind another one.

        False if it is recorded already, and so is not to be tried again.
        """

    async def select(
        self,
        connection: Any,
        *,
        originator_id: str | None = None,
        event_id: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Parked]:
        """Return parked events in their order: of one aggregate, a single one, or all."""

    async def dropped(self, connection: Any) -> Sequence[Dropped]:
        """Return what was given up, the oldest first."""

    async def remove(self, connection: Any, parked: Sequence[Parked]) -> None:
        """Take events out: they are applied, or dropped."""

    async def record_drop(self, connection: Any, parked: Parked, *, by: str, reason: str) -> None:
        """Record for ever that an event is not applied."""


class Store(Protocol):
    """Where a view is kept: what it has made of the events, its tracking, and what is parked.

    There are two kinds of connections. What is asked on one that is `connected` is awaited as
    ever. Batches are applied, and parked events redriven, on `working` ones, and all that is done
    on them is done within `run`: on a follower's own connection it may block, and so must be in a
    worker thread. A connection has `transaction()`, as psycopg's: in another one, a savepoint.
    """

    @property
    def view(self) -> View:
        """What defines it."""

    @property
    def schema(self) -> str:
        """What it is called where it is kept."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    @property
    def floor(self) -> int:
        """What is at or below this position is applied, whatever the tracking says.

        The library's own runner, or an earlier consumer, has said so under the library's name. It
        may be lower by now, after a replay.
        """

    @property
    def tracking(self) -> TrackingStore:
        """How far it is."""

    @property
    def parking(self) -> ParkingStore:
        """What it could not apply."""

    def connected(self) -> AbstractAsyncContextManager[Any]:
        """Open a connection to ask on."""

    def working(self, settings: Mapping[str, str]) -> AbstractAsyncContextManager[Any]:
        """Open a connection to work on, with `settings` of a session in Postgres."""

    def run(self, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> Awaitable[T]:
        """Do some work on a working connection, where it may block."""

    def transaction(
        self, connection: Any, *, whole_batch: bool = False
    ) -> AbstractAsyncContextManager[Any]:
        """Begin a transaction, or a savepoint in one; that of a whole batch has none inside of it.

        Raises why it has failed, if a unit of work has kept that to itself.
        """

    async def check_deferred(self, connection: Any) -> None:
        """Have that checked which would be at the end of the transaction only. Raises its error."""

    def redriving(self, connection: Any) -> AbstractAsyncContextManager[None]:
        """Begin a transaction in which consumers neither park nor apply anything."""

    async def prepare(self, connection: Any, partitions: int, *, indexed: bool = True) -> None:
        """Make what is not there yet."""

    async def check(self, connection: Any) -> None:
        """Raise an `OperatorError` unless all is there, as the code that runs would make it."""

    async def read_floor(self, connection: Any) -> int:
        """Return the floor as it is now, on a working connection."""

    async def raise_mark(
        self, connection: Any, candidates: Sequence[Published]
    ) -> Mapping[int, Link]:
        """Say under the library's own name that all is applied up to a position; never lower it.

        The position is that of the first position record that is reached, if one is. That is found
        out, and said, in one transaction, which no replay comes between. Returns what is applied
        last of each partition.
        """

    def why_not(self, again: Again) -> str:
        """Tell why its events can't be applied again beside what it has; empty if they can."""

    def check_replayable(self, partitions: Collection[int] | None = None) -> None:
        """Raise `NotReplayableError` if some partitions, or all, can't be applied again."""

    async def replay(self, connection: Any, partitions: Collection[int] | None = None) -> None:
        """Forget what was applied of some partitions, or of all. Raises `NotReplayableError`."""

    async def move(self, connection: Any, move: Move) -> bool:
        """Move one partition without applying anything; False if it is not as it was seen."""

    async def skip(self, connection: Any, skip: Skip) -> None:
        """Have records passed over that are not applied yet, and record that for ever."""


class WriteModel(Protocol):
    """The events of an application where they are stored: all that Kafka has ever had, and more."""

    async def lacks(self, links: Collection[Link]) -> Link | None:
        """Return one of these records whose event is not stored at its position; None if all are.

        So a database that was restored, or is another one, is found out.
        """

    def records(self, after: int, until: int) -> AsyncGenerator[Sequence[Record], None]:
        """Yield what Kafka has had after a position, up to another one that is published.

        As the relay has made it, but for its predecessor. Raises `OperatorError` where it can't be.
        """


OpenWriteModel = Callable[[], AbstractAsyncContextManager[WriteModel]]
"""Opens it, once something is to be read there. Raises `OperatorError` if it can't be opened."""
