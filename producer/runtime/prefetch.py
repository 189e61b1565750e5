"""Reading ahead of who works."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import anyio
import anyio.abc
import anyio.lowlevel

T = TypeVar("T")


@asynccontextmanager
async def prefetching(source: AsyncGenerator[T, None]) -> AsyncIterator[AsyncIterator[T]]:
    """Read one item ahead of the body, so that reading and working overlap."""
    # With no buffer, the one item read ahead is the one that waits to be sent.
    send, receive = anyio.create_memory_object_stream[T](0)

    async def read() -> None:
        async with send, aclosing(source):
            async for item in source:
                await send.send(item)
                await anyio.lowlevel.checkpoint()  # Who waited for it has its turn first.

    async with anyio.create_task_group() as reading:
        reading.start_soon(read)
        async with receive:
            try:
                yield receive
            finally:
                # First, or an item that nobody takes any more would be an error of its own.
                reading.cancel_scope.cancel()
