"""What is read of several partitions, shared out among those who apply it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import anyio
import anyio.lowlevel

from eventsourcing_kafka.consumer.engine.batch import Span
from eventsourcing_kafka.consumer.engine.tracking import Tracking

WORTH_SHARING = 200
"""Records: fewer are soonest done by one hand, in one transaction."""


class Shared:
    """Spans that wait to be applied by one of several hands.

    A hand that is free takes whole partitions, with all that waits of them: none waits for the
    others at the end of a batch. A partition is in one hand at a time, so its spans are applied
    in their order.
    """

    def __init__(self, hands: int, limit: int) -> None:
        self._hands = hands
        self._limit = limit
        self._waiting: dict[int, list[Span]] = {}
        self._taken: set[int] = set()
        self._changed = anyio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, and nothing is in any hand."""
        return not self._waiting and not self._taken

    async def add(self, batch: Sequence[Span]) -> None:
        """Add what comes next, and wait while more than `limit` records wait."""
        for span in batch:
            self._waiting.setdefault(span.partition, []).append(span)
        self._tell()
        await anyio.lowlevel.checkpoint()  # A hand that is free begins, before more is asked for.
        while sum(map(_records, self._waiting.values())) > self._limit:
            await self._changed.wait()

    async def some(self) -> None:
        """Wait until there is something to take."""
        while not self._waiting.keys() - self._taken:
            await self._changed.wait()

    @contextmanager
    def taken(self, seen: Mapping[int, Tracking]) -> Iterator[Sequence[Span]]:
        """Take a share of what waits: of each partition what comes next after what was `seen`."""
        numbers = self._share()
        taken = [_joined(self._waiting.pop(number), seen) for number in numbers]
        self._taken.update(numbers)
        self._tell()
        try:
            yield [span for span in taken if span]
        finally:
            self._taken.difference_update(numbers)
            self._tell()

    def _share(self) -> Sequence[int]:
        """Choose partitions, those first that wait longest, up to a hand's share."""
        free = {n: _records(spans) for n, spans in self._waiting.items() if n not in self._taken}
        share = max(WORTH_SHARING, sum(free.values()) / self._hands)
        chosen: list[int] = []
        for number, records in free.items():
            if chosen and sum(free[n] for n in chosen) + records > share:
                break
            chosen.append(number)
        return chosen

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _records(spans: Sequence[Span]) -> int:
    return sum(len(span.items) for span in spans)


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
    items = [item for part in parts for item in part.items]
    return parts[0]._replace(end=parts[-1].end, items=items)
