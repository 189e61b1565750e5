"""How a batch goes into a view: its events, and the tracking past them, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection

from consumer.parking import Parking
from consumer.store import ViewStore
from consumer.subscription import Item, Span
from consumer.tracking import Move, Tracking
from consumer.unit_of_work import UnitOfWork

REFUSALS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    UnicodeError,
)
"""What Postgres says of values that it does not take: the event's fault, not the server's."""


class OnError(StrEnum):
    """What to do with an event that can't be applied."""

    PARK = "park"
    STOP = "stop"


@dataclass(frozen=True)
class Applied:
    """The batch is in the view, and the tracking has moved."""

    trackings: Sequence[Tracking]
    events: int = 0
    already_seen: int = 0
    """Records whose position had been applied before."""
    parked: int = 0
    stopped: Mapping[int, str] = field(default_factory=dict)
    """Partitions that stop before an event that can't be applied, and why."""


@dataclass(frozen=True)
class Moved:
    """Somebody else moved the tracking: nothing of the batch is in the view."""

    trackings: Sequence[Tracking]


class CannotApplyError(Exception):
    """An event can't be applied to the view."""

    def __init__(self, partition: int, item: Item, reason: Exception) -> None:
        self.partition = partition
        self.item = item
        where = f"partition {partition}, offset {item.record.offset}"
        if item.envelope:
            where += f", position {item.envelope.position}"
        super().__init__(f"{type(reason).__name__}: {reason} ({where})")


class _MovedByAnotherError(Exception):
    """Rolls the transaction back."""


class _RefusedTogetherError(Exception):
    """The database refuses what the batch writes: it is to be found out by which event."""


class Located(NamedTuple):
    """A record of a batch, and the partition that it is in."""

    partition: int
    item: Item


class Applying:
    """Applies batches to one generation of a view."""

    def __init__(self, store: ViewStore, on_error: OnError = OnError.PARK) -> None:
        self._store = store
        self._on_error = on_error

    async def apply(
        self, connection: AsyncConnection[Any], batch: Sequence[Span], seen: Mapping[int, Tracking]
    ) -> Applied | Moved:
        """Apply a batch, and move the tracking from exactly what was `seen`, all or nothing.

        An event that can't be applied is parked, with all of its aggregate after it; or its
        partition stops before it, and the rest of the batch is applied. Transient errors are
        raised: the batch is to be applied again.
        """
        stopped: dict[int, str] = {}
        together = True
        while True:
            try:
                return await self._transaction(connection, batch, seen, stopped, together=together)
            except _MovedByAnotherError:
                found = await self._store.tracking.read(connection, list(seen))
                return Moved(list(found.values()))
            except _RefusedTogetherError:
                together = False
            except CannotApplyError as error:
                stopped[error.partition] = str(error)
                batch = list(_before(error, batch))

    async def _transaction(
        self,
        connection: AsyncConnection[Any],
        batch: Sequence[Span],
        seen: Mapping[int, Tracking],
        stopped: Mapping[int, str],
        *,
        together: bool,
    ) -> Applied:
        news = list(_news(batch, seen))
        moves = [
            Move(
                seen[span.partition],
                span.moved(seen[span.partition]),
                len(span.items),
                stopped.get(span.partition),
            )
            for span in batch
        ]
        async with connection.transaction():
            if not await self._store.tracking.move(connection, moves):
                raise _MovedByAnotherError
            work = _Work(self._store, connection, self._on_error)
            parked = await (work.together(news) if together else work.one_by_one(news))
            await self._store.notify(connection)
        return Applied(
            [move.to for move in moves],
            len(news) - parked,
            sum(len(span.items) for span in batch) - len(news),
            parked,
            stopped,
        )


class _Work:
    """What is done inside the transaction, after the tracking has moved."""

    def __init__(
        self, store: ViewStore, connection: AsyncConnection[Any], on_error: OnError
    ) -> None:
        self._store = store
        self._parking: Parking = store.parking
        self._connection = connection
        self._on_error = on_error
        self._parked_originators: set[str] = set()

    async def together(self, news: Sequence[Located]) -> int:
        """Apply events in one unit of work; return how many were parked."""
        await self._find_parked(news)
        try:
            return await self._unit(news)
        except REFUSALS as error:
            raise _RefusedTogetherError from error

    async def one_by_one(self, news: Sequence[Located]) -> int:
        """Apply each event in a unit of its own, so that the one that is refused is found."""
        await self._find_parked(news)
        parked = 0
        for located in news:
            try:
                async with self._connection.transaction():
                    parked += await self._unit([located])
            except REFUSALS as error:
                await self._set_aside(*located, error)
                parked += 1
        return parked

    async def _find_parked(self, news: Sequence[Located]) -> None:
        originators = {item.originator_id for _, item in news if item.event or item.error}
        if originators:
            self._parked_originators = await self._parking.parked_among(
                self._connection, originators
            )

    async def _unit(self, news: Sequence[Located]) -> int:
        unit = self._store.view.unit_of_work(self._store.schema)
        parked = 0
        concerned = [item for _, item in news if item.event or item.error]
        originators = {item.originator_id for item in concerned}
        await unit.read(
            self._connection, originators, [item.event for item in concerned if item.event]
        )
        for partition, item in news:
            if not item.event and not item.error:
                continue
            if item.originator_id in self._parked_originators:
                await self._parking.park(self._connection, partition, item, None)
                parked += 1
                continue
            try:
                apply_item(unit, partition, item)
            except Exception as reason:  # noqa: BLE001 - whatever a policy raises
                if await self._is_dropped(unit, partition, item):
                    continue
                await self._set_aside(partition, item, reason)
                parked += 1
        await unit.write(self._connection)
        return parked

    async def _is_dropped(self, unit: UnitOfWork, partition: int, item: Item) -> bool:
        if not await self._parking.is_dropped(self._connection, partition, item.record.offset):
            return False
        if item.envelope:
            unit.skip(item.envelope.originator_id, item.envelope.version, partition)
        return True

    async def _set_aside(self, partition: int, item: Item, reason: Exception) -> None:
        if self._on_error is OnError.STOP:
            raise CannotApplyError(partition, item, reason) from reason
        await self._parking.park(self._connection, partition, item, reason)
        self._parked_originators.add(item.originator_id)


def apply_item(unit: UnitOfWork, partition: int, item: Item) -> None:
    """Apply the policy to one record, or raise what is wrong with it."""
    if item.error:
        raise item.error
    if item.event:
        unit.apply(item.event, partition)


def _news(batch: Sequence[Span], seen: Mapping[int, Tracking]) -> Iterator[Located]:
    """Yield the records that have not been applied before."""
    for span in batch:
        last = seen[span.partition].position
        for item in span.items:
            if item.envelope is None or item.envelope.position > last:
                yield Located(span.partition, item)
                last = item.envelope.position if item.envelope else last


def _before(error: CannotApplyError, batch: Sequence[Span]) -> Iterator[Span]:
    """Yield the batch as far as it goes without the event that can't be applied."""
    for span in batch:
        if span.partition != error.partition:
            yield span
            continue
        offset = error.item.record.offset
        items = [item for item in span.items if item.record.offset < offset]
        yield span._replace(end=offset, items=items)
