"""How a batch goes into a view: its events, and the tracking past them, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import psycopg
from anyio import to_thread
from eventsourcing.persistence import DataError, IntegrityError, InternalError
from psycopg import AsyncConnection

from eventsourcing_kafka.consumer.engine.batch import Item, Located, Span
from eventsourcing_kafka.consumer.engine.parking import SetAside
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking
from eventsourcing_kafka.consumer.unit_of_work import UnitOfWork
from eventsourcing_kafka.producer.runtime.retry import is_transient
from eventsourcing_kafka.producer.wire.tracing import processing

REFUSALS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    UnicodeError,
    psycopg.errors.InFailedSqlTransaction,
    DataError,
    IntegrityError,
    InternalError,
)
"""What Postgres, or the library, says of values that it does not take: not the server's fault.

Also that the transaction has failed: then a policy has kept the reason to itself.
"""

REFUSED_IN_WRITING = (*REFUSALS, TypeError, ValueError)
"""And what Python says of values that do not go together, such as times without a zone."""


ATTEMPTS = 5
"""At an event whose new events conflict with those that somebody else recorded meanwhile."""


class OnError(StrEnum):
    """What to do with an event that can't be applied."""

    PARK = "park"
    STOP = "stop"
    RAISE = "raise"


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


class CannotApplyError(Exception):
    """An event can't be applied to the view.

    The `story` may quote the event: it is for those who may read the view, and for no log.
    """

    def __init__(self, partition: int, item: Item, reason: Exception) -> None:
        self.partition = partition
        self.item = item
        where = f"partition {partition}, offset {item.record.offset}"
        if item.envelope:
            where += f", position {item.envelope.position}"
        self.story = f"{type(reason).__name__}: {reason} ({where})"
        super().__init__(f"{type(reason).__name__} ({where})")


class _MovedByAnotherError(Exception):
    """Rolls the transaction back."""


class _RefusedTogetherError(Exception):
    """The database refuses what the batch writes: it is to be found out by which event."""


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
                return Moved()
            except _RefusedTogetherError:
                together = False
            except CannotApplyError as error:
                if self._on_error is OnError.RAISE:
                    raise
                stopped[error.partition] = error.story
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
        with processing(self._store.view.name, (item.record for _, item in news)):
            async with connection.transaction():
                if not await self._store.tracking.move(connection, moves):
                    raise _MovedByAnotherError
                work = _Work(self._store, connection, self._on_error)
                parked = await (work.together(news) if together else work.one_by_one(news))
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
        self._connection = connection
        self._on_error = on_error

    async def together(self, news: Sequence[Located]) -> int:
        """Apply events in one unit of work; return how many were parked."""
        set_aside = await self._store.parking.set_aside(self._connection, news)
        try:
            failures = await apply_unit(self._store, self._connection, news, set_aside)
        except REFUSED_IN_WRITING as error:
            raise _RefusedTogetherError from error
        return await self._park(failures)

    async def one_by_one(self, news: Sequence[Located]) -> int:
        """Apply each event in a unit of its own, so that the one that is refused is found."""
        set_aside = await self._store.parking.set_aside(self._connection, news)
        parked = 0
        for located in news:
            try:
                failures = await self._alone(located, set_aside)
            except REFUSED_IN_WRITING as error:
                set_aside.parked.add(located.item.originator_id)
                failures = [Failure(located, error)]
            parked += await self._park(failures)
        return parked

    async def _alone(self, located: Located, set_aside: SetAside) -> list[Failure]:
        """Apply one event; again, if what another consumer records conflicts with what it does."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._connection.transaction():
                    return await apply_unit(self._store, self._connection, [located], set_aside)
            # The library's: only hosted applications record events, or read on after an error.
            except (IntegrityError, InternalError):
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError

    async def _park(self, failures: Sequence[Failure]) -> int:
        for (partition, item), reason in failures:
            if reason and self._on_error is not OnError.PARK:
                raise CannotApplyError(partition, item, reason) from reason
            await self._store.parking.park(self._connection, partition, item, reason)
        return len(failures)


class Failure(NamedTuple):
    """A record that is not applied."""

    located: Located
    reason: Exception | None
    """None if it is behind another one of its aggregate."""


async def apply_unit(
    store: ViewStore,
    connection: AsyncConnection[Any],
    news: Sequence[Located],
    set_aside: SetAside,
) -> list[Failure]:
    """Apply events in one unit of work, and return those that the policy can't be applied to."""
    concerned = [located for located in news if located.item.event or located.item.error]
    originators = {item.originator_id for _, item in concerned}
    events = [item.event for _, item in concerned if item.event]
    unit = store.view.unit_of_work(store.schema)
    await unit.read(connection, originators, events)
    if store.view.hosted:
        failures = await to_thread.run_sync(fold, unit, concerned, set_aside)
    else:
        failures = fold(unit, concerned, set_aside)
    await unit.write(connection)
    return failures


def fold(unit: UnitOfWork, news: Sequence[Located], set_aside: SetAside) -> list[Failure]:
    """Apply the policy to one event after the other, and return those that it can't be applied to.

    Errors of the database are raised: they are not the policy's.
    """
    failures = []
    for located in news:
        if located.item.originator_id in set_aside.parked:
            failures.append(Failure(located, None))
            continue
        if set_aside.has_dropped(located):
            skip_item(unit, located)
            continue
        try:
            apply_item(unit, located)
        except REFUSALS:
            raise
        except Exception as reason:
            if is_transient(reason):
                raise
            failures.append(Failure(located, reason))
            set_aside.parked.add(located.item.originator_id)
    return failures


def apply_item(unit: UnitOfWork, located: Located) -> None:
    """Apply the policy to one record, or raise what is wrong with it."""
    if located.item.error:
        raise located.item.error
    if located.item.event:
        unit.apply(located.item.event, located.place)


def skip_item(unit: UnitOfWork, located: Located) -> None:
    """Let its aggregate go on behind a record that is given up."""
    envelope = located.item.envelope
    if envelope:
        unit.skip(envelope.originator_id, envelope.version, located.place)


def _news(batch: Sequence[Span], seen: Mapping[int, Tracking]) -> Iterator[Located]:
    """Yield the records that have not been applied before."""
    for span in batch:
        last = seen[span.partition].position
        for item in span.items:
            if item.envelope is None or item.error:  # It may lie about its position.
                yield Located(span.partition, item)
            elif item.envelope.position > last:
                yield Located(span.partition, item)
                last = item.envelope.position


def _before(error: CannotApplyError, batch: Sequence[Span]) -> Iterator[Span]:
    """Yield the batch as far as it goes without the event that can't be applied."""
    for span in batch:
        failing = span.partition == error.partition
        yield span.before(error.item.record.offset) if failing else span
