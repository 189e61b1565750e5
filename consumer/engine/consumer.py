"""The consumer's loop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, NamedTuple

import anyio
from psycopg import AsyncConnection

from eventsourcing_kafka.consumer.engine.applying import Applied, Applying, Moved, OnError
from eventsourcing_kafka.consumer.engine.batch import Span, Wanted, Wish
from eventsourcing_kafka.consumer.engine.metrics import ViewMetrics
from eventsourcing_kafka.consumer.engine.store import NotReplayableError, ViewStore, group_of
from eventsourcing_kafka.consumer.engine.subscription import Subscription
from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.consumer.engine.work_queue import Shared
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partitions_of
from eventsourcing_kafka.producer.runtime.drain import InFlight, draining
from eventsourcing_kafka.producer.runtime.retry import LoopHealth, retrying
from eventsourcing_kafka.producer.wire import WireFormat

logger = logging.getLogger(__name__)

TOPIC_POLL_SECONDS = 0.1
IDLE_POLLS = 4
"""To find nothing to apply so often is as good as to have applied something."""


class Consumer:
    """Keeps one view up to date, as one of any number of members of the view's group.

    `grace` is how many seconds a batch in hand has to finish when the consumer is told to stop;
    a batch that takes longer than `stuck` seconds means that a client is: all start again.
    What is read at once has at most `limit` records, and so many may wait for one of the
    `connections` to be free: each applies whole partitions, so that Postgres works on more than
    one core, and while more is read.
    `stopped` tells which partitions have stopped, and why.
    """

    def __init__(
        self,
        store: ViewStore,
        settings: KafkaSettings,
        *,
        on_error: OnError = OnError.PARK,
        limit: int = 2500,
        connections: int = 2,
        grace: float = 10.0,
        stuck: float = 300.0,
        instance: str | None = None,
        indexed: bool = True,
        applying: Applying | None = None,
    ) -> None:
        self.stopped: dict[int, str] = {}
        self.seen: Mapping[int, Tracking] = {}
        self.health = LoopHealth()
        self.store = store
        self._metrics = ViewMetrics(store.view.name)
        self._applying = applying or Applying(store, on_error)
        self._settings = settings
        self._limit = limit
        # A hosted class has one connection, on which all that it does is one transaction.
        self._connections = 1 if store.view.hosted else connections
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
        await retrying(f"view {self.store.view.name}", self._apply_what_comes, self.health)

    async def _apply_what_comes(self, progressed: Callable[[], None]) -> None:
        partitions = await self._partitions()
        async with self._working() as connections, self._joined() as subscription:
            await self.store.prepare(connections[0], partitions, indexed=self._indexed)
            self.seen = subscription.seen
            life = _Life(
                partitions, subscription, Shared(len(connections), self._limit), progressed
            )
            async with anyio.create_task_group() as applying:
                for connection in connections:
                    applying.start_soon(self._apply, life, connection)
                await self._read(life, connections[0])

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[Sequence[AsyncConnection[Any]]]:
        async with AsyncExitStack() as opened:
            yield [
                await opened.enter_async_context(self.store.working(self._session))
                for _ in range(self._connections)
            ]

    async def _read(self, life: _Life, connection: AsyncConnection[Any]) -> None:
        """Share out what comes; when nothing does, see whether the tracking was moved."""
        idle = 0
        async with aclosing(life.subscription.batches()) as batches:
            async for batch in batches:
                await life.shared.add(batch)
                idle = 0 if batch else idle + 1
                if idle and life.shared.is_empty:
                    seen = dict(life.subscription.seen)
                    if await self.store.tracking.read(connection, list(seen)) != seen:
                        await self._find(life, connection)
                if idle == IDLE_POLLS:
                    life.progressed()

    async def _apply(self, life: _Life, connection: AsyncConnection[Any]) -> None:
        """Apply one share of what was read after the other."""
        async with draining(self._grace) as in_flight:
            while True:
                await life.shared.some()
                with life.shared.taken(life.subscription.seen) as share:
                    if share:
                        await self._apply_share(life, connection, share, in_flight)
                        life.progressed()

    async def _apply_share(
        self,
        life: _Life,
        connection: AsyncConnection[Any],
        share: Sequence[Span],
        in_flight: InFlight,
    ) -> None:
        seen = {span.partition: life.subscription.seen[span.partition] for span in share}
        async with in_flight():
            with anyio.fail_after(self._stuck), self._metrics.batch():
                outcome = await self._applying.apply(connection, share, seen)
        match outcome:
            case Applied():
                life.subscription.advance(seen, outcome.trackings)
                self._note(life.subscription, outcome)
            case Moved():
                await self._find(life, connection)

    async def _find(self, life: _Life, connection: AsyncConnection[Any]) -> None:
        """Find out to where somebody else has moved the tracking, and go on from there."""
        logger.info("the tracking was moved: going on from there")
        await self.store.prepare(connection, life.partitions, indexed=self._indexed)
        seen = dict(life.subscription.seen)
        found = await self.store.tracking.read(connection, list(seen))
        self._metrics.moved(seen, list(found.values()))
        # What has come on meanwhile, in another hand, is not where it was found.
        unmoved = {number for number in seen if life.subscription.seen.get(number) == seen[number]}
        life.subscription.seek(found[number] for number in unmoved & found.keys())

    def _note(self, subscription: Subscription, applied: Applied) -> None:
        for tracking in applied.trackings:
            self.stopped.pop(tracking.partition, None)
        for partition in applied.stopped:
            logger.error(
                "partition %d has stopped before an event that can't be applied: "
                "eventsourcing-kafka consumer status says why",
                partition,
            )
            subscription.stop(partition)
        self.stopped |= applied.stopped
        self._metrics.applied(applied)
        if applied.parked:
            logger.warning(
                "%d events parked: eventsourcing-kafka consumer parked list", applied.parked
            )

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


class _Life(NamedTuple):
    """What the tasks of one life have in common."""

    partitions: int
    subscription: Subscription
    shared: Shared
    progressed: Callable[[], None]


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
