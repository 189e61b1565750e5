"""The consumer's loop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio

from consumer.subscription import Subscription
from consumer.view import Applied, Moved, ViewStore
from producer.wire import KafkaSettings, Topics, WireFormat
from producer.wire.endurance import ahead, enduring, finishing
from producer.wire.kafka import partitions_of

logger = logging.getLogger(__name__)

TOPIC_POLL_SECONDS = 0.5


class Consumer:
    """Keeps one view up to date, as one of any number of members of the view's group.

    `grace` is how many seconds a batch in hand has to finish when the consumer is told to stop;
    a batch that takes longer than `stuck` seconds means that a client is: all start again.
    A batch has at most `limit` records.
    """

    def __init__(
        self,
        store: ViewStore,
        settings: KafkaSettings,
        *,
        limit: int = 5000,
        grace: float = 10.0,
        stuck: float = 300.0,
    ) -> None:
        self._store = store
        self._settings = settings
        self._limit = limit
        self._grace = grace
        self._stuck = stuck

    async def run(self) -> None:
        """Apply for ever; lost servers are waited out.

        Raises `CannotApplyError` or `RecordsDeletedError`: what only a person can settle.
        """
        await enduring(f"view {self._store.view.name}", self._apply_what_comes)

    async def _apply_what_comes(self, alive: Callable[[], None]) -> None:
        partitions = await self._partitions()
        async with self._store.connected() as connection, self._joined() as subscription:
            await self._store.prepare(connection, partitions)
            alive()
            async with ahead(subscription.batches()) as batches:
                async for batch in batches:
                    seen = dict(subscription.seen)
                    current = [span for span in batch if span.follows(seen)]
                    if not current:  # Fetched before a seek.
                        continue
                    async with finishing(self._grace):
                        with anyio.fail_after(self._stuck):
                            outcome = await self._store.apply(connection, current, seen)
                    match outcome:
                        case Applied(trackings):
                            subscription.advance(trackings)
                        case Moved(trackings):
                            logger.info("the tracking was moved: going on from there")
                            subscription.seek(trackings)
                    alive()

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
            self._store.connected() as reading,
            Subscription.joined(
                f"{self._settings.group_prefix}{view.name}",
                WireFormat(view.application_name, view.types),
                view.wanted,
                partial(self._store.tracking.read, reading),
                self._settings,
                limit=self._limit,
            ) as subscription,
        ):
            yield subscription
