"""Waiting for what nothing notifies of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

SECONDS = 30.0
"""Whatever is waited for longer will not come."""

LOOK_AGAIN_SECONDS = 0.02


async def until(happens: Callable[[], Awaitable[bool]], *, seconds: float = SECONDS) -> None:
    """Wait until something is so. Raises `TimeoutError` if it is not within so many seconds."""
    with anyio.fail_after(seconds):
        while not await happens():  # noqa: ASYNC110 - nothing notifies of it
            await anyio.sleep(LOOK_AGAIN_SECONDS)
