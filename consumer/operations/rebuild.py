"""A new generation of a view, filled beside the active one and then put in its place.

It is the same view in a schema of its own, read by a group of its own; its indexes are made at the
end. When it has caught up, the two schemas swap their names in one transaction: searches see
the one or the other. Running consumers find other positions in the tracking, and go on from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, LiteralString

import anyio
import msgspec
import psycopg
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.store import ViewMissingError, ViewStore, replayable
from eventsourcing_kafka.consumer.operations.status import read_ends
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partitions_of
from eventsourcing_kafka.producer.runtime.errors import OperatorError

PROGRESS_SECONDS = 0.1
LEVEL_SECONDS = 0.02
NEARLY = 1000
"""With so many offsets left it is time to swap: writers that never pause leave some always."""

CONNECTIONS = 3
"""One more than live: Postgres is to have work while a part of a batch is made up."""

# A page is a small row with long texts beside the table: Postgres does not count those when it
# decides how many processes are to make an index.
INDEXING = {"min_parallel_table_scan_size": "0", "maintenance_work_mem": "256MB"}

# It gives up before Postgres finds that a search and it wait for each other, and ends the search.
DROP_IS_VICTIM: LiteralString = "SET LOCAL lock_timeout = '200ms'"

# Of the session: a rebuild that is killed leaves no lock behind.
TRY_TO_BEGIN: LiteralString = "SELECT pg_try_advisory_lock(hashtext({rebuild}))"


class RebuildProgress(msgspec.Struct, frozen=True):
    """How far a rebuild is."""

    records: int
    """Kafka offsets read."""
    gap: int
    """Kafka offsets left."""


class KeptMissingError(OperatorError):
    """No earlier generation was kept."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"No earlier generation of {name} was kept: use --keep when you rebuild it."
        )


class AlreadyRebuildingError(OperatorError):
    """Somebody else rebuilds the view, or swaps it back."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is being rebuilt already: wait for that, or stop it.")


class GenerationStoppedError(OperatorError):
    """The new generation can't be filled to its end."""

    def __init__(self, name: str, partition: int, why: str) -> None:
        super().__init__(
            f"The new generation of {name} has stopped in partition {partition}, and the present "
            f"one stays: {why}"
        )


class MoreParkedError(OperatorError):
    """The new generation lacks more than the present one."""

    def __init__(self, view: View, parked: int, before: int) -> None:
        super().__init__(
            f"The new generation of {view.name} has {parked} events parked, and the present one "
            f"{before}, so they were not swapped. Is the code of this process older? Rebuild with "
            "that of the consumers; or have it so: "
            f"eventsourcing-kafka consumer rebuild {view.arguments} --even-if-parked"
        )


class TopicMissingError(OperatorError):
    """There is nothing to fill the view from."""


class Rebuild:
    """Rebuilds one view. What an interrupted rebuild has filled is gone on with.

    Every `progress_seconds` it looks how far it is, and with `nearly` all of the offsets, but for
    so many, it is time to swap.

    Raises `NotReplayableError` for a view that records events of its own.
    """

    def __init__(
        self,
        store: Store,
        settings: KafkaSettings,
        *,
        progress_seconds: float = PROGRESS_SECONDS,
        nearly: int = NEARLY,
    ) -> None:
        self._active = active = replayable(store)
        self._next = active.next_generation()
        self._kept = active.generation(f"{active.schema}_kept")
        self._aside = active.generation(f"{active.schema}_aside")
        self._settings = settings
        self._progress_seconds = progress_seconds
        self._nearly = nearly
        self._stopped: Mapping[int, str] = {}

    async def run(
        self,
        report: Callable[[RebuildProgress], None],
        *,
        keep: bool = False,
        anew: bool = False,
        even_if_parked: bool = False,
    ) -> None:
        """Fill a new generation, make its indexes, and swap.

        With `keep` the old generation stays, for `swap_back`. With `anew` what an interrupted
        rebuild has filled is thrown away first; so it is if it has another shape. Raises
        `ViewMissingError` without an active one, and `AlreadyRebuildingError`; and unless it is to
        go on `even_if_parked`, `MoreParkedError` if the new one has more events parked.
        """
        async with self._begun() as connection, AsyncExitStack() as swap:
            if not await self._active.exists(connection):
                raise ViewMissingError(self._active.view)
            await self._prepare_next(connection, anew=anew)
            async with self._filling():
                await self._caught_up(connection, report)
                await self._next.create_indexes(connection)
                await self._caught_up(connection, report)
                await swap.enter_async_context(connection.transaction())
                await self._active.tracking.hold(connection)
                await self._level(connection, report)
            if not even_if_parked:
                await self._check_parked(connection)
            await self._swap(connection, keep=keep)
            await swap.aclose()
            await _remove(connection, self._aside)

    async def swap_back(self) -> None:
        """Make the kept generation the active one again, and keep the other.

        Consumers bring it up to date from where it was. Raises `KeptMissingError`.
        """
        async with self._begun() as connection:
            if not await self._kept.exists(connection):
                raise KeptMissingError(self._active.view.name)
            await _remove(connection, self._aside)
            async with connection.transaction():
                await self._active.tracking.hold(connection)
                await self._active.parking.copy_dropped(connection, self._kept.schema)
                await _rename(connection, self._active, self._aside)
                await _rename(connection, self._kept, self._active)
                await _rename(connection, self._aside, self._kept)
                await self._active.tracking.notify(connection)

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Connect, as the only one who rebuilds the view."""
        async with self._active.connected(INDEXING) as connection:
            rebuild = f"rebuild {self._active.schema}"
            cursor = await connection.execute(self._active.sql(TRY_TO_BEGIN, rebuild=rebuild))
            if await cursor.fetchone() != (True,):
                raise AlreadyRebuildingError(self._active.view.name)
            yield connection

    async def _prepare_next(self, connection: AsyncConnection[Any], *, anew: bool) -> None:
        topic = Topics.of(self._next.view.application_name, self._settings).events
        partitions = await partitions_of(topic, self._settings)
        if not partitions:
            raise TopicMissingError(f"There is no topic {topic!r} to fill the view from.")
        await _remove(connection, self._aside)
        if anew or not await self._next.fits(connection, partitions):
            await _remove(connection, self._next)
        await self._next.prepare(connection, partitions, indexed=False)
        await self._active.parking.copy_dropped(connection, self._next.schema)

    @asynccontextmanager
    async def _filling(self) -> AsyncIterator[None]:
        """Apply to the new generation while the body runs."""
        consumer = Consumer(self._next, self._settings, connections=CONNECTIONS, indexed=False)
        self._stopped = consumer.stopped
        async with anyio.create_task_group() as filling:
            filling.start_soon(consumer.run)
            yield
            filling.cancel_scope.cancel()

    async def _caught_up(
        self, connection: AsyncConnection[Any], report: Callable[[RebuildProgress], None]
    ) -> None:
        """Wait until the new generation has nearly all that there is."""
        waited = True
        while waited:  # Then there is more by now.
            ends = await read_ends(self._next, self._settings)
            waited = await self._reached(
                connection, report, ends, self._nearly, self._progress_seconds
            )

    async def _level(
        self, connection: AsyncConnection[Any], report: Callable[[RebuildProgress], None]
    ) -> None:
        """Wait until the new generation has all that the active one has, which is held."""
        ends = await read_ends(self._next, self._settings)
        active = await self._active.tracking.offsets(connection)
        # The active one may follow a topic that is no more, further than this one goes.
        goal = {number: min(offset, ends[number]) for number, offset in active.items()}
        await self._reached(connection, report, goal, 0, LEVEL_SECONDS)

    async def _reached(
        self,
        connection: AsyncConnection[Any],
        report: Callable[[RebuildProgress], None],
        goal: Mapping[int, int],
        gap: int,
        seconds: float,
    ) -> bool:
        """Wait until the new generation is so near to a goal; tell whether it was not yet."""
        waited = False
        while True:
            progress = await self._progress(connection, goal)
            report(progress)
            for partition, why in self._stopped.items():
                raise GenerationStoppedError(self._active.view.name, partition, why)
            if progress.gap <= gap:
                return waited
            waited = True
            await anyio.sleep(seconds)

    async def _progress(
        self, connection: AsyncConnection[Any], goal: Mapping[int, int]
    ) -> RebuildProgress:
        reached = await self._next.tracking.read(connection, list(goal))
        return RebuildProgress(
            sum(tracking.offset for tracking in reached.values()),
            sum(max(0, offset - reached[number].offset) for number, offset in goal.items()),
        )

    async def _check_parked(self, connection: AsyncConnection[Any]) -> None:
        parked = await self._next.parking.count(connection)
        before = await self._active.parking.count(connection)
        if parked > before:
            raise MoreParkedError(self._active.view, parked, before)

    async def _swap(self, connection: AsyncConnection[Any], *, keep: bool) -> None:
        await self._next.tracking.hold(connection)
        await self._active.parking.copy_dropped(connection, self._next.schema)
        if keep and await self._kept.exists(connection):
            await _rename(connection, self._kept, self._aside)
        await _rename(connection, self._active, self._kept if keep else self._aside)
        await _rename(connection, self._next, self._active)
        await self._active.tracking.notify(connection)


async def _remove(connection: AsyncConnection[Any], store: ViewStore) -> None:
    """Drop a generation, when the searches are over that have found it under its earlier name."""
    while True:
        try:
            async with connection.transaction():
                await connection.execute(DROP_IS_VICTIM)
                await connection.execute(store.sql("DROP SCHEMA IF EXISTS {schema} CASCADE"))
        except psycopg.errors.LockNotAvailable:
            await anyio.sleep(LEVEL_SECONDS)
        else:
            return


async def _rename(connection: AsyncConnection[Any], store: ViewStore, to: ViewStore) -> None:
    await connection.execute(
        sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
            sql.Identifier(store.schema), sql.Identifier(to.schema)
        )
    )
