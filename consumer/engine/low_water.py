"""The low-water mark of a follower: up to which position it has passed everything.

Tracking knows partitions. Who uses the library waits for one number, under the application's own
name: `recorder.wait("Shop", position)`. The position record says for each partition what the last
record up to a position is, so a follower that has come to what it says of each has passed all up to
that position, partitions in which nothing new has come included. What is parked is passed; what is
stopped is not.

The mark is found after what is applied is committed, in a transaction of its own, beside the loop:
of two consumers that finish together the one that looks last sees both. It may be lower than it
could be, and never higher.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from aiokafka import AIOKafkaConsumer, TopicPartition

from eventsourcing_kafka.consumer.engine.logs import ViewLog
from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.subscription import Subscription
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.wire.position import Published, last_in

logger = logging.getLogger(__name__)

PACE_SECONDS = 0.1
"""It is raised no more often than that."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 1.0
"""Between two looks for a position record, or for others' partitions, while nothing is applied."""
LAST_SECONDS = 1.0
"""So long a consumer that is told to stop may take to raise it once more."""


class LowWater:
    """Raises the low-water mark of a store while a subscription has partitions of it.

    The connection, and the Kafka consumer, are nobody else's.
    """

    def __init__(
        self,
        store: Store,
        connection: Any,
        subscription: Subscription,
        kafka: AIOKafkaConsumer,
        topics: Topics,
    ) -> None:
        self._log = ViewLog(logger, store.view.name)
        self._store = store
        self._connection = connection
        self._subscription = subscription
        self._kafka = kafka
        self._topics = topics
        self._awaited: Published | None = None
        """A position record that is not reached yet. While more is published than is applied, the
        newest one would never be."""
        self._is_there = False
        self._told = False

    async def run(self) -> None:
        """Raise it whenever something is applied, until it is as high as Kafka has it."""
        pause = SHORTEST_PAUSE
        while True:
            began, moved = anyio.current_time(), self._subscription.moved
            is_settled = await self._raise()
            with anyio.move_on_after(None if is_settled else pause) as waiting:
                await moved.wait()
            if waiting.cancelled_caught:
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = SHORTEST_PAUSE
                await anyio.sleep_until(began + PACE_SECONDS)

    @asynccontextmanager
    async def raised_at_the_end(self) -> AsyncIterator[None]:
        """Raise it once more for what was applied meanwhile, before a consumer stops."""
        try:
            yield
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(LAST_SECONDS, shield=True):
                await self._raise()
            raise

    async def _raise(self) -> bool:
        """Raise it as far as is known now; tell whether it is at the last position record."""
        newest = await self._newest()
        candidates = [each for each in (newest, self._awaited) if each]
        links = await self._store.raise_mark(self._connection, candidates)
        highest = max((link.position for link in links.values()), default=0)
        if newest is None:
            self._tell_that_there_is_none(highest)
            return False
        if newest.is_reached(links):
            self._awaited = None
            # What is applied may be visible before the position record of its transaction.
            return newest.position >= highest
        if self._awaited is None or self._awaited.is_reached(links):
            self._awaited = newest
        return False

    async def _newest(self) -> Published | None:
        if not self._is_there:
            self._is_there = self._topics.position in await self._kafka.topics()
        partition = TopicPartition(self._topics.position, 0)
        return await last_in(self._kafka, partition) if self._is_there else None

    def _tell_that_there_is_none(self, highest: int) -> None:
        if highest and not self._told:
            self._log.warning(
                "the topic %s is not there, or we may not read it: who waits for a position of %s "
                "by the library's wait() is told nothing",
                self._topics.position,
                self._store.view.application_name,
            )
            self._told = True
