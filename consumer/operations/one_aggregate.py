"""One aggregate of a view: made again from its events, or looked at event by event."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, NamedTuple

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import scalar_row

from eventsourcing_kafka.consumer.engine.applying import Applier, CannotApplyError, OnError
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord
from eventsourcing_kafka.consumer.engine.parking import Dropped
from eventsourcing_kafka.consumer.engine.protocol import Again, Store
from eventsourcing_kafka.consumer.engine.store import ViewStore, replayable
from eventsourcing_kafka.consumer.operations.history import History
from eventsourcing_kafka.producer.runtime.errors import OperatorError

Row = Mapping[str, Any]

SELECT_ROWS: LiteralString = "SELECT to_jsonb(row) FROM {table} AS row ORDER BY row::text"


class StillBrokenError(OperatorError):
    """An event of the aggregate can't be applied: the view is as it was."""

    def __init__(self, originator_id: str, error: CannotApplyError) -> None:
        envelope = error.record.envelope
        event = f"{envelope.type}, version {envelope.version}" if envelope else "an event"
        super().__init__(
            f"{event} of {originator_id} can't be applied, and the view is as it was: {error.story}"
        )


class ReplayedAggregate(NamedTuple):
    """What was made again of an aggregate."""

    events: int
    """Up to where its partition is applied."""
    parked: int
    """How many of them were parked, and are applied now."""


async def aggregate_events(store: Store, history: History, originator_id: str) -> int:
    """Return how many events of an aggregate a replay of it would apply again.

    Raises `NotReplayableError`, `NotRemovableError`, `ViewMissingError`, `ShapeChangedError` or
    `NoHistoryError`.
    """
    view = replayable(store, Again.ONE_AGGREGATE)
    view.check_removable()
    async with view.connected() as connection:
        await view.check(connection)
        return len(await _applied(view, connection, history, originator_id))


async def replay_aggregate(store: Store, history: History, originator_id: str) -> ReplayedAggregate:
    """Remove an aggregate from a view, and apply its events again, in one transaction.

    Consumers wait meanwhile, and go on where they were. What was dropped of it stays so; what was
    parked is applied. Raises what `aggregate_events` raises, and `StillBrokenError`.
    """
    view = replayable(store, Again.ONE_AGGREGATE)
    view.check_removable()
    async with view.connected() as connection, view.redriving(connection):
        records = await _applied(view, connection, history, originator_id)
        originator_id = records[0].originator_id  # As it is stored, however it was typed.
        parked = [
            event
            for event in await view.parking.select(connection, originator_id=originator_id)
            if event.position is not None  # What is foreign is in no write model.
        ]
        await view.parking.remove(connection, parked)
        await view.remove_aggregate(connection, originator_id)
        try:
            await Applier(view, OnError.RAISE, redriving=True).reapply(connection, records)
        except CannotApplyError as error:
            raise StillBrokenError(originator_id, error) from error
        await view.tracking.notify(connection)
        return ReplayedAggregate(len(records), len(parked))


async def _applied(
    view: ViewStore, connection: AsyncConnection[Any], history: History, originator_id: str
) -> Sequence[ConsumedRecord]:
    """Return the events of an aggregate that the tracking is past."""
    return await history.of_aggregate(originator_id, await view.tracking.positions(connection))


class Change(msgspec.Struct, frozen=True):
    """What an event did to a row: it came, went, or has other values in some columns."""

    table: str
    before: Row | None
    after: Row | None


class Step(msgspec.Struct, frozen=True):
    """One event of an aggregate, and what it did."""

    version: int
    position: int
    type: str
    changes: Sequence[Change]
    error: str | None = None
    """Why it can't be applied. No later event is tried then."""
    dropped: Dropped | None = None
    """Who gave it up for ever, and why: then it is not applied at all."""


async def steps(
    store: Store,
    history: History,
    originator_id: str,
    until: int | None = None,
    *,
    after: int | None = None,
) -> AsyncIterator[Step]:
    """Yield what each event of an aggregate does to empty tables of the view, one by one.

    Up to version `until`, or to where the view has applied them. Those up to version `after` are
    applied together before that, and only one that can't be is yielded. Nothing is written: the
    tables are made in a transaction that is rolled back. Raises what `replay_aggregate` raises of a
    view that is not there, and of an aggregate that is unknown.
    """
    view = replayable(store, Again.STEPPED)
    async with view.connected() as connection:
        await view.check(connection)
        records = await _applied(view, connection, history, originator_id)
        earlier = [each for each in records if after is not None and _version(each) <= after]
        wanted = [
            each for each in records[len(earlier) :] if until is None or _version(each) <= until
        ]
        async with _scratch(view, connection) as scratch:
            try:
                await Applier(scratch, OnError.RAISE, redriving=True).reapply(connection, earlier)
            except CannotApplyError as error:
                yield _step(error.record, error=error.story)
                return
            async for step in _stepped(scratch, connection, wanted):
                yield step


@asynccontextmanager
async def _scratch(view: ViewStore, connection: AsyncConnection[Any]) -> AsyncIterator[ViewStore]:
    """Make the view's tables, empty, for as long as the context lasts."""
    scratch = view.generation(f"{view.schema}_step")
    async with connection.transaction(force_rollback=True):
        partitions = await view.tracking.count(connection)
        await scratch.prepare(connection, partitions, indexed=False)
        await view.parking.copy_dropped(connection, scratch.schema)
        yield scratch


async def _stepped(
    scratch: ViewStore,
    connection: AsyncConnection[Any],
    records: Sequence[ConsumedRecord],
) -> AsyncIterator[Step]:
    applier = Applier(scratch, OnError.RAISE, redriving=True)
    given_up = await scratch.parking.dropped(connection)
    before = await _rows(scratch, connection)
    for record in records:
        error = None
        try:
            await applier.redrive(connection, record, checked=True)
        except CannotApplyError as failed:
            error = failed.story
        after = await _rows(scratch, connection)
        changes = [
            change
            for table in scratch.view.tables
            for change in _changes(table, before[table], after[table])
        ]
        dropped = next(
            (each for each in given_up if each.covers(record.partition, record.place.position)),
            None,
        )
        yield _step(record, changes, error, dropped)
        if error:
            break
        before = after


def _version(record: ConsumedRecord) -> int:
    assert record.envelope  # noqa: S101 - it was made here
    return record.envelope.version


def _step(
    record: ConsumedRecord,
    changes: Sequence[Change] = (),
    error: str | None = None,
    dropped: Dropped | None = None,
) -> Step:
    kind = record.envelope.type if record.envelope else ""
    return Step(_version(record), record.place.position, kind, changes, error, dropped)


async def _rows(store: ViewStore, connection: AsyncConnection[Any]) -> Mapping[str, Sequence[Row]]:
    """Return all rows of each table: in a scratch these are one aggregate's."""
    found = {}
    for table in store.view.tables:
        cursor = connection.cursor(row_factory=scalar_row)
        select = sql.SQL(SELECT_ROWS).format(table=sql.Identifier(store.schema, table))
        found[table] = await (await cursor.execute(select)).fetchall()
    return found


def _changes(table: str, before: Sequence[Row], after: Sequence[Row]) -> Sequence[Change]:
    """Return what is different: in pairs, as far as rows of the same place are concerned."""
    gone, come = _without(before, after), _without(after, before)
    pairs = min(len(gone), len(come))
    return [
        *(Change(table, one, other) for one, other in zip(gone, come, strict=False)),
        *(Change(table, row, None) for row in gone[pairs:]),
        *(Change(table, None, row) for row in come[pairs:]),
    ]


def _without(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Return the rows that the others lack, each as often as it is there more often."""
    left = Counter(map(repr, others))
    kept = []
    for row in rows:
        if left[repr(row)]:
            left[repr(row)] -= 1
        else:
            kept.append(row)
    return kept
