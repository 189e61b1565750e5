"""What is read of several partitions, until one of the workers applies it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import anyio
import anyio.lowlevel

from eventsourcing_kafka.consumer.engine.batch import Span
from eventsourcing_kafka.consumer.engine.tracking import Tracking

WORTH_SHARING = 200
"""Records: fewer are soonest applied by one worker, in one transaction."""


class WorkQueue:
    """Spans that wait to be applied by one of several workers.

    A worker that is free claims whole partitions, with all that waits of them: none waits for the
    others at the end of a batch. A partition is claimed by one worker at a time, so its spans are
    applied in their order.
    """

    def __init__(self, workers: int, limit: int, worth_sharing: int = WORTH_SHARING) -> None:
        self._workers = workers
        self._limit = limit
        self._worth_sharing = worth_sharing
        self._waiting: dict[int, list[Span]] = {}
        self._claimed: set[int] = set()
        self._changed = anyio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, and nothing is being applied."""
        return not self._waiting and not self._claimed

    async def add(self, batch: Sequence[Span]) -> None:
        """Add what comes next, and wait while more than `limit` records wait."""
        for span in batch:
            self._waiting.setdefault(span.partition, []).append(span)
        self._notify()
        await anyio.lowlevel.checkpoint()  # A free worker begins, before more is asked for.
        while sum(map(_records, self._waiting.values())) > self._limit:
            await self._changed.wait()

    async def claimable(self) -> None:
        """Wait until there is something to claim."""
        while not self._waiting.keys() - self._claimed:
            await self._changed.wait()

    @contextmanager
    def claim(self, seen: Mapping[int, Tracking]) -> Iterator[Sequence[Span]]:
        """Claim a share of what waits: of each partition what comes next after what was `seen`."""
        numbers = self._share()
        spans = [_joined(self._waiting.pop(number), seen) for number in numbers]
        self._claimed.update(numbers)
        self._notify()
        try:
            yield [span for span in spans if span]
        finally:
            self._claimed.difference_update(numbers)
            self._notify()

    def _share(self) -> Sequence[int]:
        """Choose partitions, those first that wait longest, up to one worker's share."""
        free = {n: _records(spans) for n, spans in self._waiting.items() if n not in self._claimed}
        share = max(self._worth_sharing, sum(free.values()) / self._workers)
        chosen: list[int] = []
        for number, records in free.items():
            if chosen and sum(free[n] for n in chosen) + records > share:
                break
            chosen.append(number)
        return chosen

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _records(spans: Sequence[Span]) -> int:
    return sum(len(span.records) for span in spans)


def _joined(spans: Sequence[Span], seen: Mapping[int, Tracking]) -> Span | None:
    """Return one span of all that come next, one after the other: not what came before a seek."""
    parts: list[Span] = []
    seen = dict(seen)
    for span in spans:
        if part := span.after(seen):
            parts.append(part)
            seen[part.partition] = seen[part.partition]._replace(offset=part.end)
    if not parts:
        return None
    records = [record for part in parts for record in part.records]
    return parts[0]._replace(end=parts[-1].end, records=records)
