"""Stopping well: what is in flight finishes, or rolls back, inside one deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import anyio.abc
import anyio.lowlevel

InFlight = Callable[[], AbstractAsyncContextManager[None]]
"""Makes the context of what finishes, or not at all."""


@asynccontextmanager
async def draining(grace: float) -> AsyncIterator[InFlight]:
    """Let what is in hand finish when the body is cancelled from outside, within `grace` seconds.

    What is not finished then is cancelled: its transaction rolls back.
    """
    bodies: set[anyio.CancelScope] = set()

    async def watch() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            for body in bodies:
                body.deadline = min(body.deadline, anyio.current_time() + grace)

    @asynccontextmanager
    async def in_flight() -> AsyncIterator[None]:
        await anyio.lowlevel.checkpoint_if_cancelled()  # Nobody would tell it that it has to end.
        with anyio.CancelScope(shield=True) as body:
            bodies.add(body)
            try:
                yield
            finally:
                bodies.remove(body)
        if body.cancelled_caught:
            await anyio.lowlevel.checkpoint()  # We are cancelled from outside, and end here.

    async with anyio.create_task_group() as watching:
        watching.start_soon(watch)
        yield in_flight
        watching.cancel_scope.cancel()
