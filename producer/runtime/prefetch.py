"""Prefetching: the next item is read while the one before is worked on."""

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
    # The stream has no buffer: the prefetched item is the one that waits to be sent.
    send, receive = anyio.create_memory_object_stream[T](0)

    async def read() -> None:
        async with send, aclosing(source):
            async for item in source:
                await send.send(item)
                await anyio.lowlevel.checkpoint()  # The receiver runs first.

    async with anyio.create_task_group() as reading:
        reading.start_soon(read)
        async with receive:
            try:
                yield receive
            finally:
                # Before the stream is closed, or sending the prefetched item would be an error.
                reading.cancel_scope.cancel()
