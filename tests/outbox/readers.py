"""Readers of an outbox, with a deadline."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
from eventsourcing.persistence import Notification
from psycopg import AsyncConnection

from eventsourcing_kafka.producer.outbox import Outbox, PostgresOutbox

Batches = AsyncGenerator[Sequence[Notification], None]


async def next_batch(batches: Batches) -> Sequence[Notification]:
    """Return the next batch that has anything in it."""
    while not (batch := await anext(batches)):
        pass
    return batch


@asynccontextmanager
async def reading(outbox: Outbox, after: int = 0, deadline: float = 10) -> AsyncIterator[Batches]:
    """Read batches, for so many seconds at most."""
    with anyio.fail_after(deadline):
        async with aclosing(outbox.batches(after)) as batches:
            yield batches


async def next_positions(batches: Batches, count: int = 1) -> list[int]:
    """Return the positions of the next batches, up to so many notifications or a few more."""
    positions: list[int] = []
    while len(positions) < count:
        positions += [notification.id for notification in await next_batch(batches)]
    return positions


async def read(outbox: Outbox, after: int = 0, count: int = 1) -> list[int]:
    async with reading(outbox, after) as batches:
        return await next_positions(batches, count)


async def take_turns(first: Outbox, second: WatchedOutbox) -> None:
    """See that one reader waits while another has the turn, and gets it then."""
    entered = anyio.Event()

    async def wait_for_a_turn() -> None:
        async with second.turn():
            entered.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            async with first.turn():
                group.start_soon(wait_for_a_turn)
                await second.waiting_for_turn.wait()
                assert not entered.is_set()
                assert await first.owner()
            await entered.wait()


class WatchedOutbox(PostgresOutbox):
    """Tells when it was held up: by writers, at the second look at them, or by another reader."""

    looks = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.proving = anyio.Event()
        self.waiting_for_turn = anyio.Event()

    async def _writers(self, connection: AsyncConnection[Any]) -> set[str]:
        writers = await super()._writers(connection)
        self.looks += bool(writers)
        if self.looks >= 2:
            self.proving.set()
        return writers

    async def _has_turn(self, connection: AsyncConnection[Any]) -> bool:
        has_turn = await super()._has_turn(connection)
        if not has_turn:
            self.waiting_for_turn.set()
        return has_turn
