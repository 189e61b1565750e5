"""A new generation of a view, filled beside the active one and then put in its place.

It is the same view in a schema of its own, read by a group of its own; its indexes are made at the
end. When it has caught up, the two schemas swap their names in one transaction: searches see
the one or the other. Running consumers find other positions in the tracking, and go on from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, LiteralString

import anyio
import msgspec
from psycopg import AsyncConnection, sql

from consumer.consumer import Consumer
from consumer.status import read_status
from consumer.store import ViewMissingError, ViewStore
from producer.wire import KafkaSettings
from producer.wire.terminal import OperatorError

PROGRESS_SECONDS = 0.3
LEVEL_SECONDS = 0.02
BATCH = 20_000
"""A rebuild has the machine to itself: large batches write a page that is edited often once."""

COPY_DROPPED: LiteralString = """
    INSERT INTO {next}.dropped
    SELECT * FROM {active}.dropped
    EXCEPT
    SELECT * FROM {next}.dropped
"""

# Whoever moves a tracking waits for the end of the swap, and then looks its name up again.
# Readers do not wait.
HOLD_TRACKING: LiteralString = "LOCK TABLE {schema}.tracking IN EXCLUSIVE MODE"


class Progress(msgspec.Struct, frozen=True):
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


class Rebuild:
    """Rebuilds one view. What an interrupted rebuild has filled is gone on with."""

    def __init__(self, store: ViewStore, settings: KafkaSettings) -> None:
        self._active = store
        self._next = store.generation(f"{store.schema}_next")
        self._kept = store.generation(f"{store.schema}_kept")
        self._settings = settings

    async def run(
        self, report: Callable[[Progress], None], *, keep: bool = False, anew: bool = False
    ) -> None:
        """Fill a new generation, make its indexes, and swap.

        With `keep` the old generation stays, for `swap_back`. With `anew` what an interrupted
        rebuild has filled is thrown away first. Raises `ViewMissingError` without an active one.
        """
        async with self._active.connected() as connection, AsyncExitStack() as swap:
            if not await self._active.exists(connection):
                raise ViewMissingError(self._active.view.name)
            if anew:
                await _remove(connection, self._next)
            async with self._filling():
                await self._caught_up(report)
                await self._next.create_indexes(connection)
                await self._caught_up(report)
                await swap.enter_async_context(connection.transaction())
                await _hold(connection, self._active)
                await self._level(connection)
            await self._swap(connection, keep=keep)

    async def swap_back(self) -> None:
        """Make the kept generation the active one again, and keep the other.

        Consumers bring it up to date from where it was. Raises `KeptMissingError`.
        """
        async with self._active.connected() as connection:
            if not await self._kept.exists(connection):
                raise KeptMissingError(self._active.view.name)
            async with connection.transaction():
                await _hold(connection, self._active)
                await _hold(connection, self._kept)
                await _rename(connection, self._active, self._next)
                await _rename(connection, self._kept, self._active)
                await _rename(connection, self._next, self._kept)
                await self._active.notify(connection)

    @asynccontextmanager
    async def _filling(self) -> AsyncIterator[None]:
        """Apply to the new generation while the body runs."""
        consumer = Consumer(self._next, self._settings, limit=BATCH, indexed=False)
        async with anyio.create_task_group() as filling:
            filling.start_soon(consumer.run)
            yield
            filling.cancel_scope.cancel()

    async def _caught_up(self, report: Callable[[Progress], None]) -> None:
        while True:
            status = await read_status(self._next, self._settings)
            progress = Progress(sum(row.offset for row in status), sum(row.gap for row in status))
            report(progress)
            if status and not progress.gap:
                return
            await anyio.sleep(PROGRESS_SECONDS)

    async def _level(self, connection: AsyncConnection[Any]) -> None:
        """Wait until the new generation has all that the active one has, which is held."""
        goal = [row.tracking for row in await self._active.tracking.lock(connection)]
        while True:
            reached = await self._next.tracking.read(connection, range(len(goal)))
            if all(reached[seen.partition].offset >= seen.offset for seen in goal):
                return
            await anyio.sleep(LEVEL_SECONDS)

    async def _swap(self, connection: AsyncConnection[Any], *, keep: bool) -> None:
        await _hold(connection, self._next)
        await connection.execute(
            sql.SQL(COPY_DROPPED).format(
                active=sql.Identifier(self._active.schema), next=sql.Identifier(self._next.schema)
            )
        )
        await _remove(connection, self._kept)
        if keep:
            await _rename(connection, self._active, self._kept)
        else:
            await _remove(connection, self._active)
        await _rename(connection, self._next, self._active)
        await self._active.notify(connection)


async def _hold(connection: AsyncConnection[Any], store: ViewStore) -> None:
    await connection.execute(store.sql(HOLD_TRACKING))


async def _remove(connection: AsyncConnection[Any], store: ViewStore) -> None:
    await connection.execute(store.sql("DROP SCHEMA IF EXISTS {schema} CASCADE"))


async def _rename(connection: AsyncConnection[Any], store: ViewStore, to: ViewStore) -> None:
    await connection.execute(
        sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
            sql.Identifier(store.schema), sql.Identifier(to.schema)
        )
    )
