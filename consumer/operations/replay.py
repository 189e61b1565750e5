"""Applying again from the start what a view has already applied."""

from __future__ import annotations

from collections.abc import Collection

from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.producer.runtime.errors import SettingsError


class UnknownPartitionError(SettingsError):
    """The view has no such partition."""


async def applied_records(
    store: Store, partitions: Collection[int] | None = None
) -> dict[int, int]:
    """Return how many records of some partitions, or of all, the view has taken in.

    Raises `NotReplayableError`, `ViewMissingError`, `ShapeChangedError`, or
    `UnknownPartitionError` with those there are.
    """
    store.check_replayable(partitions)
    async with store.connected() as connection:
        await store.check(connection)
        rows = await store.tracking.progress(connection)
    known = {row.tracking.partition: row.records for row in rows}
    if unknown := set(partitions or ()) - set(known):
        raise UnknownPartitionError(
            f"{store.view.name} has no partition {min(unknown)}: it has 0 to {max(known)}."
        )
    return {number: known[number] for number in partitions or known}


async def replay_view(store: Store, partitions: Collection[int] | None = None) -> None:
    """Empty the view and its tracking, of some partitions or of all, in one transaction.

    Consumers that run find out by the guard, and start over; others do when they start.
    """
    async with store.connected() as connection:
        await store.replay(connection, partitions)
