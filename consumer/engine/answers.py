"""Answers that are waited for only once they are needed: what else is asked goes out meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Answer: TypeAlias = Callable[[], Awaitable[T]]
"""Returns what was asked for; if that has not come yet, it is waited for."""


async def already(value: T) -> T:
    """Be the answer, as `partial(already, value)`, where there is nothing to wait for."""
    return value
