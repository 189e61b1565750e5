"""How a batch goes into a view: the tracking past it, and then its events, in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from eventsourcing_kafka.consumer.engine.answers import Answer, already
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, Followed, Span, follow
from eventsourcing_kafka.consumer.engine.parking import SetAside
from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.refusals import (
    CONFLICTS,
    is_refusal,
    is_refused_in_writing,
)
from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking
from eventsourcing_kafka.consumer.unit_of_work import UnitOfWork
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.retry import is_transient
from eventsourcing_kafka.producer.wire import OutdatedError
from eventsourcing_kafka.producer.wire.tracing import processing

UNGUARDED: Answer[bool] = partial(already, True)
"""The answer where no tracking moves."""

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
    broken: Collection[int] = ()
    """Partitions whose next record does not follow what is applied."""
    ended: Collection[int] = ()
    """Partitions that are not to come further, though more follows."""


@dataclass(frozen=True)
class Moved:
    """Somebody else moved the tracking: nothing of the batch is in the view."""


@dataclass(frozen=True)
class Deferred:
    """Not all of the batch may be applied yet: what is left of it is to be read again."""


Outcome = Applied | Moved | Deferred
"""What can come of a batch. All else is an error, and the batch is to be applied again."""


class CannotApplyError(OperatorError):
    """An event can't be applied to the view. Its cause says why.

    The `story` may quote the event: it is for those who may read the view, and for no log.
    """

    def __init__(self, record: ConsumedRecord, reason: Exception) -> None:
        self.record = record
        where = f"partition {record.partition}"
        if record.offset >= 0:  # It is from Kafka.
            where += f", offset {record.offset}"
        if record.envelope:
            where += f", position {record.envelope.position}"
        self.story = f"{type(reason).__name__}: {reason} ({where})"
        super().__init__(f"{type(reason).__name__} ({where})")


class Failure(NamedTuple):
    """A record that is not applied."""

    record: ConsumedRecord
    reason: Exception | None
    """None if it is behind another one of its aggregate."""


class _Effect(NamedTuple):
    """What records came to, in a transaction that is not committed yet."""

    parked: int = 0
    stopped: Mapping[int, CannotApplyError] = {}
    """Of each partition that has one, the first record that is neither applied nor parked."""


_Way = Callable[..., Awaitable[_Effect]]
"""Applies records in a transaction, given a connection, these, and the guard's answer."""


class _MovedByAnotherError(Exception):
    """Rolls the transaction back."""


class Applier:
    """Applies batches to a view, and what was parked, wherever the view is kept."""

    def __init__(
        self,
        store: Store,
        on_error: OnError = OnError.PARK,
        *,
        redriving: bool = False,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._store = store
        self._on_error = on_error
        self._redriving = redriving
        self._attempts = attempts

    async def apply(
        self, connection: Any, batch: Sequence[Span], seen: Mapping[int, Tracking]
    ) -> Outcome:
        """Apply a batch, and move the tracking from exactly what was `seen`, all or nothing.

        A partition is applied up to the first record that does not follow what was `seen`.
        An event that can't be applied is parked, with all of its aggregate after it; or its
        partition stops before it, and the rest of the batch is applied. Transient errors are
        raised: the batch is to be applied again. Where a batch is not one transaction, what was
        applied of it before the error is already seen then.
        """
        parts = _followed(batch, seen)
        moves, records = _moves(parts), _news(parts)
        if not moves:
            return Applied([], broken=_broken(parts))
        apply, *finer = self._ways()
        while True:
            try:
                with processing(self._store.view.name, records):
                    whole_batch = apply == self._together
                    async with self._store.transaction(connection, whole_batch=whole_batch):
                        have_moved = await self._store.tracking.move(connection, moves)
                        parked, stopped = await apply(connection, records, have_moved)
                        if stopped:
                            parts = await self._move_back(connection, parts, stopped)
                            moves, records = _moves(parts), _news(parts)
            except _MovedByAnotherError:
                return Moved()
            except Exception as error:
                if not finer or not self._is_of_a_record(error):
                    raise
                apply = finer.pop(0)  # So that the one that can't be applied is found.
            else:
                return Applied(
                    [move.to for move in moves],
                    len(records) - parked,
                    sum(move.records for move in moves) - len(records),
                    parked,
                    {partition: error.story for partition, error in stopped.items()},
                    _broken(parts),
                )

    async def redrive(
        self, connection: Any, record: ConsumedRecord, *, checked: bool = False
    ) -> None:
        """Apply a record that was parked. Raises `CannotApplyError`, and nothing has changed.

        What would be refused at the end of the transaction only is refused here if it is `checked`.
        """
        await self._alone(connection, record, checked=checked)

    async def reapply(self, connection: Any, records: Sequence[ConsumedRecord]) -> None:
        """Apply records anew that the tracking is past, but for those that were dropped.

        Raises `CannotApplyError` for the first that can't be applied; then nothing has changed.
        """
        apply, *finer = self._ways()
        while True:
            try:
                async with self._store.transaction(connection):
                    await apply(connection, records)
                    await self._store.check_deferred(connection)
            except Exception as error:
                if not finer or not is_refused_in_writing(error):
                    raise
                apply = finer.pop(0)
            else:
                return

    def _ways(self) -> Sequence[_Way]:
        """Return how records are applied: in the first way, or as long as one is refused the next.

        The last one finds by itself what is refused at the end of the batch. It is the last, since
        records may be right together of which the first alone is not.
        """
        if not self._store.capabilities.atomic:
            return [self._one_by_one]
        return [self._together, self._one_by_one, self._each_checked]

    async def _together(
        self,
        connection: Any,
        records: Sequence[ConsumedRecord],
        have_moved: Answer[bool] = UNGUARDED,
    ) -> _Effect:
        """Apply records in one unit of work, once the tracking has moved.

        What is set aside is read after the guard has locked the rows: a redrive that has just
        ended is seen. Nothing is waited for before all that is to be read was asked for.
        """
        concerned = await self._above_the_floor(
            connection, [record for record in records if record.event or record.error]
        )
        if not concerned:
            await _check(have_moved)
            return _Effect()
        find_set_aside = await self._store.parking.set_aside(connection, concerned)
        unit = self._store.view.unit_of_work(self._store.schema)
        originators = {record.originator_id for record in concerned}
        try:
            await unit.read(connection, originators, [r.event for r in concerned if r.event])
        except Exception:
            await _check(have_moved)  # Else it has read what another consumer has applied.
            raise
        await _check(have_moved)
        set_aside = await find_set_aside()
        if self._redriving:
            set_aside.parked.clear()  # All of them are tried again, in their order.
        failures = fold(unit, concerned, set_aside)
        await unit.write(connection)
        return _Effect(await self._park(connection, failures))

    async def _above_the_floor(
        self, connection: Any, records: Sequence[ConsumedRecord]
    ) -> Sequence[ConsumedRecord]:
        """Leave out what the library's own runner has applied. What was parked, it has not.

        The tracking has moved in this transaction, so that no replay can lower the floor meanwhile.
        """
        seen = self._store.floor  # 0 where no other runner has been, as for most.
        if self._redriving or not (seen and any(_is_within(seen, each) for each in records)):
            return records
        floor = await self._store.read_floor(connection)
        return [record for record in records if not _is_within(floor, record)]

    async def _one_by_one(
        self,
        connection: Any,
        records: Sequence[ConsumedRecord],
        have_moved: Answer[bool] = UNGUARDED,
        *,
        checked: bool = False,
    ) -> _Effect:
        """Apply each record in a unit of its own, up to where its partition stops."""
        await _check(have_moved)
        parked, stopped = 0, {}
        for record in records:
            if record.partition not in stopped:
                try:
                    parked += await self._alone(connection, record, checked=checked)
                except CannotApplyError as error:
                    if self._is_raised(error):
                        raise
                    stopped[record.partition] = error
        return _Effect(parked, stopped)

    async def _each_checked(
        self,
        connection: Any,
        records: Sequence[ConsumedRecord],
        have_moved: Answer[bool] = UNGUARDED,
    ) -> _Effect:
        """Do so, and have that checked of each record which waits for the end of the batch."""
        return await self._one_by_one(connection, records, have_moved, checked=True)

    async def _alone(self, connection: Any, record: ConsumedRecord, *, checked: bool) -> int:
        """Apply one record, and tell how many are parked: again, while it conflicts with others."""
        for attempt in count(1):
            try:
                async with self._store.transaction(connection):
                    parked = (await self._together(connection, [record])).parked
                    if checked:
                        await self._store.check_deferred(connection)
                    return parked
            except Exception as error:
                if not is_refused_in_writing(error):
                    raise
                if not isinstance(error, CONFLICTS) or attempt >= self._attempts:
                    reason = error
                    break
        return await self._park(connection, [Failure(record, reason)])

    async def _park(self, connection: Any, failures: Sequence[Failure]) -> int:
        """Set records aside, and tell how many; or raise why the first can't be applied."""
        parked = 0
        for record, reason in failures:
            if reason and not self._parks(record):
                raise CannotApplyError(record, reason) from reason
            parked += await self._store.parking.park(connection, record, reason)
        return parked

    def _parks(self, record: ConsumedRecord) -> bool:
        """Tell whether a record that can't be applied is set aside.

        What is newer than this program is not: once it is updated, it goes on by itself. What is
        foreign is no error of a policy: raised, it would end a runner at each start. Where events
        are ordered as a whole, all later ones would be set aside with it: there it stops.
        """
        if isinstance(record.error, OutdatedError):
            return False
        if self._on_error is OnError.RAISE and not self._redriving:
            return record.envelope is None
        if record.envelope is not None and record.envelope.of_the_whole:
            return False
        return self._on_error is OnError.PARK

    async def _move_back(
        self,
        connection: Any,
        parts: Sequence[Followed],
        stopped: Mapping[int, CannotApplyError],
    ) -> Sequence[Followed]:
        """Move partitions back to where they stop, and return the batch as far as it goes."""
        cut = [
            follow(part.span.before(error.record.offset), part.move.seen)
            if (error := stopped.get(part.span.partition))
            else part
            for part in parts
        ]
        back = [
            Move(
                part.move.to,
                shorter.move.to,
                shorter.move.records - part.move.records,
                stopped[part.span.partition].story,
                shorter.move.news,
            )
            for part, shorter in zip(parts, cut, strict=True)
            if part.span.partition in stopped
        ]
        await _check(await self._store.tracking.move(connection, back))
        return cut

    def _is_of_a_record(self, error: Exception) -> bool:
        """Tell whether a record is to be found that can't be applied, and not raised."""
        if isinstance(error, CannotApplyError):
            return not self._is_raised(error)
        return is_refused_in_writing(error)

    def _is_raised(self, error: Exception) -> bool:
        return isinstance(error, CannotApplyError) and self._on_error is OnError.RAISE


async def _check(have_moved: Answer[bool]) -> None:
    if not await have_moved():
        raise _MovedByAnotherError


def fold(unit: UnitOfWork, records: Sequence[ConsumedRecord], set_aside: SetAside) -> list[Failure]:
    """Apply the policy to one event after the other, and return those that it can't be applied to.

    Errors of the database are raised: they are not the policy's.
    """
    failures = []
    for record in records:
        # What is foreign is of no aggregate, whatever it says: it waits for none, and none for it.
        envelope = record.envelope
        if envelope and set_aside.parked and record.originator_id in set_aside.parked:
            failures.append(Failure(record, None))
        elif set_aside.has_dropped(record):
            if envelope:  # Its aggregate goes on behind it.
                unit.skip(envelope.originator_id, envelope.version, record.place)
        elif reason := _refused(unit, record):
            failures.append(Failure(record, reason))
            if envelope:
                set_aside.parked.add(record.originator_id)
    return failures


def _refused(unit: UnitOfWork, record: ConsumedRecord) -> Exception | None:
    """Apply the policy to an event, and return why it can't be applied to it, if it can't."""
    if record.event:
        try:
            unit.apply(record.event, record.place)
        except Exception as error:
            if is_refusal(error) or is_transient(error):
                raise
            return error
    return record.error


def _is_within(floor: int, record: ConsumedRecord) -> bool:
    return record.envelope is not None and record.envelope.position <= floor


def _followed(batch: Sequence[Span], seen: Mapping[int, Tracking]) -> Sequence[Followed]:
    """Return each span as far as it follows what was seen."""
    return [follow(span, seen[span.partition]) for span in batch]


def _moves(parts: Sequence[Followed]) -> Sequence[Move]:
    return [part.move for part in parts if part.move.records or part.move.to != part.move.seen]


def _news(parts: Sequence[Followed]) -> Sequence[ConsumedRecord]:
    return [record for part in parts for record in part.move.news]


def _broken(parts: Sequence[Followed]) -> Collection[int]:
    return [part.span.partition for part in parts if part.broken]
