"""What a person does about parked events: has them tried again, or drops the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from eventsourcing.persistence import IntegrityError, InternalError
from psycopg import AsyncConnection

from eventsourcing_kafka.consumer.engine.applying import (
    ATTEMPTS,
    REFUSED_IN_WRITING,
    Failure,
    apply_unit,
)
from eventsourcing_kafka.consumer.engine.batch import Item, Located
from eventsourcing_kafka.consumer.engine.parking import Dropped, Listed, Parked, SetAside
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.unit_of_work import Place
from eventsourcing_kafka.producer.runtime.errors import OperatorError, SettingsError
from eventsourcing_kafka.producer.wire import WireFormat

CONFLICTS = (IntegrityError, InternalError, psycopg.errors.InFailedSqlTransaction)
"""What an event shows that conflicts with what somebody else has recorded meanwhile: the library's
error, as only hosted applications record events, or one that comes of going on after it."""

TOLD = 20
"""So many events are named at most when one is not there."""


class StillFailingError(OperatorError):
    """A parked event can't be applied yet: it stays parked, and those behind it."""

    def __init__(self, parked: Parked, reason: Exception | None) -> None:
        super().__init__(
            f"Parked event {parked.id} ({parked.type}, aggregate {parked.originator_id}) still "
            f"can't be applied: {type(reason).__name__}: {reason}"
        )


class NotParkedError(SettingsError):
    """There is no such parked event, or aggregate."""


class NotFirstError(SettingsError):
    """Only the first parked event of an aggregate can be dropped: the others wait for it."""


async def parked_events(store: ViewStore) -> Sequence[Parked]:
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


async def dropped_events(store: ViewStore) -> Sequence[Dropped]:
    """Return what was dropped, or skipped, the oldest first."""
    async with store.connected() as connection:
        await store.check(connection)
        return await store.parking.dropped(connection)


async def parked_originators(store: ViewStore) -> list[str]:
    """Return the aggregates that have parked events, the longest parked first."""
    return _originators(await parked_events(store))


async def parked_event(store: ViewStore, event_id: int) -> Parked:
    """Return one parked event. Raises `NotParkedError` with some that there are."""
    async with store.connected() as connection:
        await store.check(connection)
        return await _find(store, connection, event_id)


async def retry(store: ViewStore, originator_id: str, wire: WireFormat | None = None) -> int:
    """Apply all parked events of an aggregate, in order, in one transaction; return how many.

    The live ones after them go on from there. Raises `StillFailingError`, and nothing has
    changed, or `NotParkedError`.
    """
    view = store.view
    wire = wire or WireFormat(view.application_name, view.types, view.mapper)
    async with store.mending() as connection:
        events = await _parked_of(store, connection, originator_id)
        partitions = await store.tracking.count(connection)
        for parked in events:
            item = Item.of(parked.record(), wire, view.wanted, partitions)
            await _apply(store, connection, parked, Located(parked.partition, item))
        await store.parking.remove(connection, events)
        await store.tracking.notify(connection)
        return len(events)


async def _apply(
    store: ViewStore, connection: AsyncConnection[Any], parked: Parked, located: Located
) -> None:
    known = await store.parking.set_aside(connection, [located])
    set_aside = SetAside(parked=set(), dropped=known.dropped)
    try:
        failures = await _unit(store, connection, located, set_aside)
    except (*REFUSED_IN_WRITING, *CONFLICTS) as reason:
        raise StillFailingError(parked, reason) from reason
    for failure in failures:
        raise StillFailingError(parked, failure.reason) from failure.reason


async def _unit(
    store: ViewStore, connection: Any, located: Located, set_aside: SetAside
) -> list[Failure]:
    """Apply one event; again, if what somebody else records conflicts with what it does."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with connection.transaction():
                return await apply_unit(store, connection, [located], set_aside)
        except CONFLICTS:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError


async def drop(store: ViewStore, event_id: int, *, by: str, reason: str) -> Parked:
    """Give up the first parked event of an aggregate, and record for ever who did so and why.

    The events behind it stay parked until they are tried again. Raises `NotParkedError` or
    `NotFirstError`.
    """
    async with store.mending() as connection:
        dropped = await _find(store, connection, event_id)
        first, *_ = await _parked_of(store, connection, dropped.originator_id)
        if first.id != dropped.id:
            raise NotFirstError(
                f"Event {dropped.id} is behind event {first.id} of the same aggregate: "
                f"retry or drop that one first."
            )
        await store.parking.record_drop(connection, dropped, by=by, reason=reason)
        await store.parking.remove(connection, [dropped])
        if dropped.originator_version is not None:
            unit = store.view.unit_of_work(store.schema)
            await unit.read(connection, {dropped.originator_id}, [])
            place = Place(dropped.partition, dropped.position or 0)
            unit.skip(dropped.originator_id, dropped.originator_version, place)
            await unit.write(connection)
        return dropped


async def _parked_of(
    store: ViewStore, connection: AsyncConnection[Any], originator_id: str
) -> Sequence[Parked]:
    """Return an aggregate's parked events. Raises `NotParkedError` with some that have any."""
    parked = await store.parking.select(connection, originator_id=originator_id)
    if not parked:
        others = _originators(await store.parking.select(connection, limit=TOLD))
        raise NotParkedError(
            f"Nothing of {originator_id} is parked. Parked are: {', '.join(others) or 'none'}."
        )
    return parked


def _originators(parked: Sequence[Parked]) -> list[str]:
    return list(dict.fromkeys(event.originator_id for event in parked))


async def _find(store: ViewStore, connection: AsyncConnection[Any], event_id: int) -> Parked:
    for event in await store.parking.select(connection, event_id=event_id):
        return event
    parked = await store.parking.select(connection, limit=TOLD)
    there = ", ".join(str(event.id) for event in parked) or "none"
    raise NotParkedError(f"There is no parked event {event_id}. There are: {there}.")
