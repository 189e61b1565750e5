"""What a person does about parked events: has them tried again, or drops the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from consumer.applying import apply_item
from consumer.parking import Parked
from consumer.store import ViewStore
from consumer.subscription import Item
from producer.wire import WireFormat
from producer.wire.terminal import OperatorError, SettingsError


class StillFailingError(OperatorError):
    """A parked event can't be applied yet: it stays parked, and those behind it."""

    def __init__(self, parked: Parked, reason: Exception) -> None:
        super().__init__(
            f"Parked event {parked.id} ({parked.type}, aggregate {parked.originator_id}) still "
            f"can't be applied: {type(reason).__name__}: {reason}"
        )


class NotParkedError(SettingsError):
    """There is no such parked event, or aggregate."""


class NotFirstError(SettingsError):
    """Only the first parked event of an aggregate can be dropped: the others wait for it."""


async def parked_originators(store: ViewStore) -> list[str]:
    """Return the aggregates that have parked events, the longest parked first."""
    async with store.connected() as connection:
        parked = await store.parking.select(connection)
        return list(dict.fromkeys(event.originator_id for event in parked))


async def parked_event(store: ViewStore, event_id: int) -> Parked:
    """Return one parked event. Raises `NotParkedError` with those there are."""
    async with store.connected() as connection:
        return _find(await store.parking.select(connection), event_id)


async def retry(store: ViewStore, originator_id: str, wire: WireFormat | None = None) -> int:
    """Apply all parked events of an aggregate, in order, in one transaction; return how many.

    The live ones after them go on from there. Raises `StillFailingError`, and nothing has
    changed, or `NotParkedError`.
    """
    wire = wire or WireFormat(store.view.application_name, store.view.types)
    async with store.connected() as connection, connection.transaction():
        events = await _hold(store, connection, originator_id)
        items = [Item.of(event.record(), wire, store.view.wanted) for event in events]
        unit = store.view.unit_of_work(store.schema)
        await unit.read(connection, {originator_id}, [item.event for item in items if item.event])
        for parked, item in zip(events, items, strict=True):
            try:
                apply_item(unit, parked.partition, item)
            except Exception as reason:
                raise StillFailingError(parked, reason) from reason
        await unit.write(connection)
        await store.parking.remove(connection, events)
        await store.notify(connection)
        return len(events)


async def drop(store: ViewStore, event_id: int, *, by: str, reason: str) -> Parked:
    """Give up the first parked event of an aggregate, and record for ever who did so and why.

    The events behind it stay parked until they are tried again. Raises `NotParkedError` or
    `NotFirstError`.
    """
    async with store.connected() as connection, connection.transaction():
        dropped = _find(await store.parking.select(connection), event_id)
        first, *_ = await _hold(store, connection, dropped.originator_id)
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
            unit.skip(dropped.originator_id, dropped.originator_version, dropped.partition)
            await unit.write(connection)
        return dropped


async def _hold(
    store: ViewStore, connection: AsyncConnection[Any], originator_id: str
) -> Sequence[Parked]:
    """Return an aggregate's parked events, and keep consumers from parking more meanwhile."""
    parked = await store.parking.select(connection, originator_id=originator_id)
    # A consumer's batch moves the tracking first, so it waits here for the end of our transaction.
    await store.tracking.lock(connection, {event.partition for event in parked})
    parked = await store.parking.select(connection, originator_id=originator_id)
    if not parked:
        others = {event.originator_id for event in await store.parking.select(connection, limit=20)}
        raise NotParkedError(
            f"Nothing of {originator_id} is parked. Parked are: {', '.join(others) or 'none'}."
        )
    return parked


def _find(parked: Sequence[Parked], event_id: int) -> Parked:
    for event in parked:
        if event.id == event_id:
            return event
    there = ", ".join(str(event.id) for event in parked[:20]) or "none"
    raise NotParkedError(f"There is no parked event {event_id}. There are: {there}.")
