"""The consumer's loop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from psycopg import AsyncConnection

from consumer.applying import Applied, Applying, Moved, OnError
from consumer.metrics import ViewMetrics
from consumer.store import NotReplayableError, ViewStore, group_of
from consumer.subscription import Span, Subscription, Wanted, Wish
from consumer.tracking import Tracking
from producer.wire import KafkaSettings, Topics, WireFormat
from producer.wire.endurance import Vitals, ahead, enduring, finishing
from producer.wire.kafka import partitions_of

logger = logging.getLogger(__name__)

TOPIC_POLL_SECONDS = 0.1
IDLE_POLLS = 4
"""To find nothing to apply so often is as good as to have applied something."""


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
        applying: Applying | None = None,
    ) -> None:
        self.stopped: dict[int, str] = {}
        self.seen: Mapping[int, Tracking] = {}
        self.vitals = Vitals()
        self.store = store
        self._metrics = ViewMetrics(store.view.name)
        self._applying = applying or Applying(store, on_error)
        self._settings = settings
        self._limit = limit
        self._grace = grace
        self._stuck = stuck
        self._instance = instance
        self._indexed = indexed
        self._group = group_of(store, settings)
        self._session = (
            {}
            if store.view.hosted
            else {
                # Commits do not wait for the disk. After a crash of the database the view and its
                # tracking are both as they were shortly before, and Kafka still has the records.
                "synchronous_commit": "off",
                # What a process that stands still has locked goes to its successor.
                "idle_in_transaction_session_timeout": f"{stuck:.0f}s",
            }
        )

    async def run(self) -> None:
        """Apply for ever; lost servers are waited out.

        Raises `RecordsDeletedError` or `ShapeChangedError`: what only a person can settle.
        """
        await enduring(f"view {self.store.view.name}", self._apply_what_comes, self.vitals)

    async def _apply_what_comes(self, alive: Callable[[], None]) -> None:
        partitions = await self._partitions()
        async with (
            self.store.working(self._session) as connection,
            self._joined() as subscription,
        ):
            await self.store.prepare(connection, partitions, indexed=self._indexed)
            self.seen = subscription.seen
            idle = 0
            async with ahead(subscription.batches()) as batches:
                async for batch in batches:
                    seen = dict(subscription.seen)
                    current = [span for part in batch if (span := part.after(seen))]
                    match await self._outcome(connection, current, seen):
                        case Applied() as applied:
                            subscription.advance(seen, applied.trackings)
                            self._note(subscription, applied)
                        case Moved(trackings):
                            logger.info("the tracking was moved: going on from there")
                            self._metrics.moved(seen, trackings)
                            await self.store.prepare(connection, partitions, indexed=self._indexed)
                            subscription.seek(trackings)
                    idle = 0 if current else idle + 1
                    if current or idle == IDLE_POLLS:
                        alive()

    async def _outcome(
        self,
        connection: AsyncConnection[Any],
        batch: Sequence[Span],
        seen: Mapping[int, Tracking],
    ) -> Applied | Moved:
        """Apply a batch; without one, see whether the tracking is still where it was."""
        if not batch:
            found = await self.store.tracking.read(connection, list(seen))
            moved = [tracking for number, tracking in found.items() if seen[number] != tracking]
            return Moved(moved) if moved else Applied([])
        async with finishing(self._grace):
            with anyio.fail_after(self._stuck), self._metrics.batch():
                outcome = await self._applying.apply(connection, batch, seen)
        return outcome

    def _note(self, subscription: Subscription, applied: Applied) -> None:
        for tracking in applied.trackings:
            self.stopped.pop(tracking.partition, None)
        for partition in applied.stopped:
            logger.error(
                "partition %d has stopped before an event that can't be applied: "
                "python -m consumer status says why",
                partition,
            )
            subscription.stop(partition)
        self.stopped |= applied.stopped
        self._metrics.applied(applied)
        if applied.parked:
            logger.warning("%d events parked: python -m consumer parked list", applied.parked)

    async def _partitions(self) -> int:
        """Return how many partitions the topic has, once the relay has made it."""
        topic = Topics.of(self.store.view.application_name, self._settings).events
        told = False
        while not (partitions := await partitions_of(topic, self._settings)):
            if not told:
                # Kafka does not tell the one from the other, so that nobody can guess names.
                logger.info(
                    "waiting for the topic %s: its relay makes it, or we may not read it", topic
                )
            told = True
            await anyio.sleep(TOPIC_POLL_SECONDS)
        return partitions

    @asynccontextmanager
    async def _joined(self) -> AsyncIterator[Subscription]:
        view = self.store.view
        async with (
            self.store.connected() as placing,
            Subscription.joined(
                self._group,
                WireFormat(view.application_name, view.types, view.mapper),
                view.wanted,
                _Places(self.store, placing, self._metrics),
                self._settings,
                limit=self._limit,
                instance=self._instance,
            ) as subscription,
        ):
            yield subscription


class _Places:
    """Where a view is in the partitions of its topic."""

    def __init__(
        self, store: ViewStore, connection: AsyncConnection[Any], metrics: ViewMetrics
    ) -> None:
        self._store = store
        self._connection = connection
        self._metrics = metrics

    async def read(self, partitions: Collection[int]) -> Mapping[int, Tracking]:
        return await self._store.tracking.read(self._connection, partitions)

    async def grant(self, wish: Wish) -> None:
        match wish.wanted:
            case Wanted.REPLAY:
                logger.warning("partition %d: replayed, as its group was set back", wish.partition)
                try:
                    await self._store.replay(self._connection, [wish.partition])
                    self._metrics.replayed(1)
                except NotReplayableError as error:
                    logger.error("%s", error)  # noqa: TRY400 - the text says it all
            case Wanted.SKIP:
                logger.warning("partition %d: skipped to offset %d", wish.partition, wish.offset)
                seen = await self.read([wish.partition])
                await self._store.skip(self._connection, seen[wish.partition], wish)
