"""An outbox over any of the library's recorders."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Protocol
from uuid import UUID

import anyio
from anyio import to_thread
from eventsourcing.persistence import Notification

POLL_SECONDS = 0.05

UNKNOWN_OWNER = "not told"
"""What is shown as the owner where no lock tells who it is."""


class Notifications(Protocol):
    """What is asked of a recorder."""

    def max_notification_id(self) -> int | None:
        """Return the highest position there is; None when there is none."""

    def select_notifications(
        self, start: int, limit: int, *, inclusive_of_start: bool
    ) -> Sequence[Notification]:
        """Return up to so many notifications from a position on, in order."""


class RecorderOutbox:
    """Reads a recorder through its own interface, in a worker thread, by polling.

    For recorders whose commit order is the order of positions, as POPO's and SQLite's is:
    there is one writer at a time, so a hole is permanent when it is seen.
    """

    def __init__(self, recorder: Notifications, *, limit: int = 2000) -> None:
        self._recorder = recorder
        self.limit = limit

    async def head(self) -> int:
        """Return the highest position there is; 0 when there is none."""
        return await to_thread.run_sync(self._recorder.max_notification_id) or 0

    async def owner(self) -> str | None:
        """Return that it is not known: nobody takes turns."""
        return UNKNOWN_OWNER

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Do not wait: such a recorder has no lock to share. Kafka fences off an earlier relay."""
        return nullcontext()

    async def first(self, after: int) -> Notification | None:
        """Return the first notification after a position."""
        return next(iter(await to_thread.run_sync(self._select, after, 1)), None)

    async def stored(self, positions: Sequence[int]) -> Mapping[int, Notification]:
        """Return the notifications at some positions, by position; those that there are."""
        return await to_thread.run_sync(self._stored, positions)

    def _stored(self, positions: Sequence[int]) -> Mapping[int, Notification]:
        nearest = [found for position in positions for found in self._select(position - 1, 1)]
        return {found.id: found for found in nearest if found.id in positions}

    async def between(self, after: int, until: int) -> AsyncGenerator[Sequence[Notification], None]:
        """Yield what there is after a position, up to another one, in order of position."""
        while after < until and (rows := await to_thread.run_sync(self._select, after, self.limit)):
            if batch := [row for row in rows if row.id <= until]:
                yield batch
            after = rows[-1].id

    async def of_aggregate(self, originator_id: str, until: int) -> Sequence[Notification]:
        """Return what an aggregate has up to a position: all others are read as well."""
        return await to_thread.run_sync(self._of_aggregate, originator_id, until)

    def _of_aggregate(self, originator_id: str, until: int) -> Sequence[Notification]:
        found: list[Notification] = []
        wanted: set[object] = {originator_id}
        with suppress(ValueError):
            wanted.add(UUID(originator_id))  # However it is typed.
        after = 0
        while after < until and (batch := self._select(after, self.limit)):
            those = [each for each in batch if each.originator_id in wanted]
            found += [each for each in those if each.id <= until]
            after = batch[-1].id
        return sorted(found, key=lambda each: each.originator_version)

    async def batches(self, after: int) -> AsyncGenerator[Sequence[Notification], None]:
        """Yield all notifications with a higher position than `after`, in order of position."""
        while True:
            batch = await to_thread.run_sync(self._select, after, self.limit)
            if batch:
                yield batch
                after = batch[-1].id
            if len(batch) < self.limit:
                yield []
                await anyio.sleep(POLL_SECONDS)

    def _select(self, after: int, limit: int) -> Sequence[Notification]:
        return self._recorder.select_notifications(
            start=after, limit=limit, inclusive_of_start=False
        )
