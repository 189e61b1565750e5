"""Gathers what is committed while a transaction is under way, as a Kafka producer's linger does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import anyio
from eventsourcing.persistence import Notification

LONGEST_LINGER = 0.005
"""Seconds, at most, which is about what a transaction takes: whoever has waited for a slow one is
not to wait for it twice."""


class Linger:
    """A stage between the outbox and the making of batches.

    A transaction of one event costs Kafka, and each view, as much as one of fifty: who commits
    often would keep them all busy. So what comes while a transaction is under way, once the outbox
    had no more, is held back until that has ended, and then as long again as it took, but no
    longer than `longest` seconds. What comes while nothing is under way goes on at once, and so
    does what fills a batch of `limit` notifications, and a backlog.
    """

    def __init__(self, limit: int, longest: float = LONGEST_LINGER) -> None:
        self._limit = limit
        self._longest = longest
        self._handed_on = 0
        self._published = 0
        self._gathering = anyio.CancelScope()

    async def batches(
        self, read: AsyncIterator[Sequence[Notification]]
    ) -> AsyncGenerator[Sequence[Notification], None]:
        """Yield what is read, in batches of at most `limit` notifications.

        `read` may be cancelled while it waits for the next: nothing of it must be lost by that.
        """
        caught_up = False
        async for latest in read:
            gathered = [*latest]
            if caught_up and self._published < self._handed_on:
                with anyio.CancelScope() as self._gathering:
                    while len(gathered) < self._limit:
                        # It ends when its outbox is lost; who reads ahead says why.
                        if (more := await anext(read, None)) is None:
                            break
                        gathered += more
            caught_up = len(gathered) < self._limit and (caught_up or not latest)
            for begin in range(0, len(gathered), self._limit):
                batch = gathered[begin : begin + self._limit]
                self._handed_on = batch[-1].id
                yield batch

    def published(self, position: int, took: float) -> None:
        """Take note that a transaction has ended, which took so many seconds.

        If nothing more is under way, what was gathered meanwhile goes on after as long again.
        """
        self._published = position
        if position >= self._handed_on:
            self._gathering.deadline = anyio.current_time() + min(took, self._longest)
