"""The consumer's loop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from psycopg import AsyncConnection

from consumer.applying import Applied, Applying, Moved, OnError
from consumer.store import ViewStore
from consumer.subscription import Span, Subscription
from consumer.tracking import Tracking
from producer.wire import KafkaSettings, Topics, WireFormat
from producer.wire.endurance import ahead, enduring, finishing
from producer.wire.kafka import partitions_of

logger = logging.getLogger(__name__)

TOPIC_POLL_SECONDS = 0.5


class Consumer:
    """Keeps one view up to date, as one of any number of members of the view's group.

    `grace` is how many seconds a batch in hand has to finish when the consumer is told to stop;
    a batch that takes longer than `stuck` seconds means that a client is: all start again.
    A batch has at most `limit` records. `stopped` tells which partitions have stopped, and why.
    """

    def __init__(
        self,
        store: ViewStore,
        settings: KafkaSettings,
        *,
        on_error: OnError = OnError.PARK,
        limit: int = 5000,
        grace: float = 10.0,
        stuck: float = 300.0,
        instance: str | None = None,
        indexed: bool = True,
    ) -> None:
        self.stopped: dict[int, str] = {}
        self._store = store
        self._applying = Applying(store, on_error)
        self._settings = settings
        self._limit = limit
        self._grace = grace
        self._stuck = stuck
        self._instance = instance
        self._indexed = indexed
        self._group = f"{settings.group_prefix}{store.schema}"

    async def run(self) -> None:
        """Apply for ever; lost servers are waited out.

        Raises `RecordsDeletedError` or `ShapeChangedError`: what only a person can settle.
        """
        await enduring(f"view {self._store.view.name}", self._apply_what_comes)

    async def _apply_what_comes(self, alive: Callable[[], None]) -> None:
        partitions = await self._partitions()
        async with self._store.connected() as connection, self._joined() as subscription:
            await self._store.prepare(connection, partitions, indexed=self._indexed)
            alive()
            async with ahead(subscription.batches()) as batches:
                async for batch in batches:
                    seen = dict(subscription.seen)
                    current = [span for span in batch if span.follows(seen)]
                    match await self._outcome(connection, current, seen):
                        case Applied() as applied:
                            self._note(subscription, applied)
                        case Moved(trackings):
                            logger.info("the tracking was moved: going on from there")
                            await self._store.prepare(connection, partitions, indexed=self._indexed)
                            subscription.seek(trackings)
                    alive()

    async def _outcome(
        self,
        connection: AsyncConnection[Any],
        batch: Sequence[Span],
        seen: Mapping[int, Tracking],
    ) -> Applied | Moved:
        """Apply a batch; without one, see whether the tracking is still where it was."""
        if not batch:
            found = await self._store.tracking.read(connection, list(seen))
            moved = [tracking for number, tracking in found.items() if seen[number] != tracking]
            return Moved(moved) if moved else Applied([])
        async with finishing(self._grace):
            with anyio.fail_after(self._stuck):
                outcome = await self._applying.apply(connection, batch, seen)
        return outcome

    def _note(self, subscription: Subscription, applied: Applied) -> None:
        subscription.advance(applied.trackings)
        for partition, reason in applied.stopped.items():
            logger.error("partition %d has stopped: %s", partition, reason)
            subscription.stop(partition)
        self.stopped |= applied.stopped
        if applied.parked:
            logger.warning("%d events parked: python -m consumer parked list", applied.parked)

    async def _partitions(self) -> int:
        """Return how many partitions the topic has, once the relay has made it."""
        topic = Topics.of(self._store.view.application_name, self._settings).events
        while not (partitions := await partitions_of(topic, self._settings)):  # noqa: ASYNC110
            await anyio.sleep(TOPIC_POLL_SECONDS)
        return partitions

    @asynccontextmanager
    async def _joined(self) -> AsyncIterator[Subscription]:
        view = self._store.view
        async with (
            self._store.connected() as placing,
            Subscription.joined(
                self._group,
                WireFormat(view.application_name, view.types),
                view.wanted,
                partial(self._place, placing),
                self._settings,
                limit=self._limit,
                instance=self._instance,
            ) as subscription,
        ):
            yield subscription

    async def _place(
        self,
        connection: AsyncConnection[Any],
        partitions: Collection[int],
        operators_offsets: Mapping[int, int],
    ) -> Mapping[int, Tracking]:
        """Return where to read new partitions from.

        An operator who set the group back wants a replay of those partitions, whole, for a
        view has no way back to the middle; one who set it forward wants to skip what lies between.
        """
        trackings = await self._store.tracking.read(connection, partitions)
        for partition, offset in operators_offsets.items():
            if offset < trackings[partition].offset:
                logger.warning("partition %d: replayed, as its group was set back", partition)
                await self._store.replay(connection, [partition])
            elif offset > trackings[partition].offset:
                logger.warning("partition %d: skipped to offset %d", partition, offset)
                await self._store.skip(connection, trackings[partition], offset)
        return await self._store.tracking.read(connection, partitions)
