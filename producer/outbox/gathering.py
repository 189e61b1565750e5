"""How long what is new may gather before it is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Gather = Callable[[int], Awaitable[None]]
"""Waits as long as more may gather; takes the position up to which all was read."""


async def at_once(_read: int) -> None:
    """Do not wait."""
