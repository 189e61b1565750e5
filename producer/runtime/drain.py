"""Draining: what is in flight when a loop is stopped finishes, or rolls back, by one deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import anyio.abc
import anyio.lowlevel

InFlight = Callable[[], AbstractAsyncContextManager[None]]
"""Makes a context whose body finishes, also when the loop is cancelled meanwhile."""


@asynccontextmanager
async def draining(grace: float) -> AsyncIterator[InFlight]:
    """Let what is in flight finish when the body is cancelled from outside, within `grace` seconds.

    The body puts it in the contexts that the yielded function makes. What is not finished after
    `grace` seconds is cancelled: its transaction rolls back.
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
        await anyio.lowlevel.checkpoint_if_cancelled()  # Too late for `watch` to set a deadline.
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
