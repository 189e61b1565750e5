"""Showing on a terminal what changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

READ_EVERY = 1.0
SHOW_EVERY = 0.5
STALE_SECONDS = 5.0
"""What was read longer ago than that is no longer shown as if it were so."""

T = TypeVar("T")


async def watch(
    read: Callable[[], Awaitable[T]],
    render: Callable[[T], RenderableType],
    console: Console,
    *,
    read_every: float = READ_EVERY,
    show_every: float = SHOW_EVERY,
    stale_seconds: float = STALE_SECONDS,
) -> None:
    """Read and show again and again until cancelled, and how long ago it was read."""
    shown: RenderableType = ""
    read_at = anyio.current_time()

    async def keep_reading() -> None:
        nonlocal shown, read_at
        while True:
            shown = render(await read())
            read_at = anyio.current_time()
            await anyio.sleep(read_every)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_reading)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                age = anyio.current_time() - read_at
                is_stale = age > stale_seconds
                live.update(Group(_heading(age, is_stale=is_stale), "" if is_stale else shown))
                live.refresh()
                await anyio.sleep(show_every)


def _heading(age: float, *, is_stale: bool) -> Text:
    if is_stale:
        return Text(f"no answer for {age:.0f} s · Ctrl-C ends", "bold red")
    return Text(f"read {age:.0f} s ago · Ctrl-C ends", "dim")
