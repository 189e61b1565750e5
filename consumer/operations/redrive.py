"""What a person does about parked events: has them tried again, or drops the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventsourcing_kafka.consumer.engine.applying import (
    Applier,
    CannotApplyError,
    OnError,
)
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord
from eventsourcing_kafka.consumer.engine.parking import Dropped, Listed, Parked
from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.refusals import is_refusal
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.producer.runtime.errors import OperatorError, SettingsError
from eventsourcing_kafka.producer.wire import WireFormat

TOLD = 20
"""So many events are named at most when one is not there."""


class StillFailingError(OperatorError):
    """A parked event can't be applied yet: it stays parked, and those behind it."""

    def __init__(self, parked: Parked, reason: BaseException | None) -> None:
        super().__init__(
            f"Parked event {parked.id} ({parked.type}, aggregate {parked.originator_id}) still "
            f"can't be applied: {type(reason).__name__}: {reason}"
        )


class NotParkedError(SettingsError):
    """There is no such parked event, or aggregate."""


class NotFirstError(SettingsError):
    """Only the first parked event of an aggregate can be dropped: the others wait for it."""


async def parked_events(store: Store) -> Sequence[Parked]:
    """Return all parked events, in order."""
    async with store.connected() as connection:
        await store.check(connection)
        return await store.parking.select(connection)


async def listed_events(
    store: ViewStore, *, after: int, limit: int
) -> tuple[Sequence[Listed], int]:
    """Return what a list shows of the parked events after one, in order; and how many there are.

    Whatever is parked, it fits into memory.
    """
    async with store.connected() as connection:
        await store.check(connection)
        rows = await store.parking.listed(connection, after=after, limit=limit)
        return rows, await store.parking.count(connection)


async def dropped_events(store: Store) -> Sequence[Dropped]:
    """Return what was dropped, or skipped, the oldest first."""
    async with store.connected() as connection:
        await store.check(connection)
        return await store.parking.dropped(connection)


async def parked_originators(store: Store) -> list[str]:
    """Return the aggregates that have parked events, the longest parked first."""
    return _originators(await parked_events(store))


async def parked_event(store: Store, event_id: int) -> Parked:
    """Return one parked event. Raises `NotParkedError` with some that there are."""
    async with store.connected() as connection:
        await store.check(connection)
        return await _find(store, connection, event_id)


async def retry(store: Store, originator_id: str, wire: WireFormat | None = None) -> int:
    """Apply all parked events of an aggregate, in order, in one transaction; return how many.

    The live ones after them go on from there. Raises `StillFailingError`, and nothing has
    changed, or `NotParkedError`. In memory, where there are no transactions, those before the
    one that still fails are applied.
    """
    async with store.working({}) as connection:
        return await store.run(_retry, store, connection, originator_id, wire)


async def _retry(store: Store, connection: Any, originator_id: str, wire: WireFormat | None) -> int:
    applier = Applier(store, OnError.RAISE, redriving=True)
    async with store.redriving(connection):
        events = await _parked_of(store, connection, originator_id)
        for event in events:
            record = await _record(store, connection, event, wire)
            try:
                await applier.redrive(connection, record)
            except CannotApplyError as error:
                raise StillFailingError(event, error.__cause__) from error.__cause__
            await store.parking.remove(connection, [event])
        try:
            await store.check_deferred(connection)
        except Exception as error:
            if not is_refusal(error):
                raise
            raise StillFailingError(events[-1], error) from error
        await store.tracking.notify(connection)
        return len(events)


async def drop(store: Store, event_id: int, *, by: str, reason: str) -> Parked:
    """Give up the first parked event of an aggregate, and record for ever who did so and why.

    The events behind it stay parked until they are tried again. Raises `NotParkedError` or
    `NotFirstError`.
    """
    async with store.working({}) as connection:
        return await store.run(_drop, store, connection, event_id, by, reason)


async def _drop(store: Store, connection: Any, event_id: int, by: str, reason: str) -> Parked:
    async with store.redriving(connection):
        dropped = await _find(store, connection, event_id)
        first, *_ = await _parked_of(store, connection, dropped.originator_id)
        if dropped.position is not None and first.id != dropped.id:
            raise NotFirstError(
                f"Event {dropped.id} is behind event {first.id} of the same aggregate: "
                f"retry or drop that one first."
            )
        await store.parking.record_drop(connection, dropped, by=by, reason=reason)
        # What is dropped is applied as such: its aggregate goes on behind it.
        record = await _record(store, connection, dropped, None)
        await Applier(store, OnError.RAISE, redriving=True).redrive(connection, record)
        await store.parking.remove(connection, [dropped])
        return dropped


async def _record(
    store: Store, connection: Any, parked: Parked, wire: WireFormat | None
) -> ConsumedRecord:
    """Read a parked event's record, as the code that runs now reads it."""
    view = store.view
    return ConsumedRecord.of(
        parked.record(),
        wire or view.wire(),
        view.wanted,
        await store.tracking.count(connection),
    )


async def _parked_of(store: Store, connection: Any, originator_id: str) -> Sequence[Parked]:
    """Return an aggregate's parked events. Raises `NotParkedError` with some that have any."""
    parked = await store.parking.select(connection, originator_id=originator_id)
    if not parked:
        others = _originators(await store.parking.select(connection, limit=TOLD))
        raise NotParkedError(
            f"Nothing of {originator_id} is parked. Parked are: {', '.join(others) or 'none'}."
        )
    # What is foreign may name any aggregate as its own, and holds up none.
    return [each for each in parked if each.position is not None] or parked


def _originators(parked: Sequence[Parked]) -> list[str]:
    return list(dict.fromkeys(event.originator_id for event in parked))


async def _find(store: Store, connection: Any, event_id: int) -> Parked:
    for event in await store.parking.select(connection, event_id=event_id):
        return event
    parked = await store.parking.select(connection, limit=TOLD)
    there = ", ".join(str(event.id) for event in parked) or "none"
    raise NotParkedError(f"There is no parked event {event_id}. There are: {there}.")
