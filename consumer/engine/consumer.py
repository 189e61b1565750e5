"""The consumer's loop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, assert_never

import anyio

from eventsourcing_kafka.consumer.engine.applying import Applied, Applier, Deferred, Moved, OnError
from eventsourcing_kafka.consumer.engine.backfill import Backfill
from eventsourcing_kafka.consumer.engine.batch import OffsetReset, ResetKind, Span
from eventsourcing_kafka.consumer.engine.logs import ViewLog
from eventsourcing_kafka.consumer.engine.lookout import Lookout
from eventsourcing_kafka.consumer.engine.low_water import LowWater
from eventsourcing_kafka.consumer.engine.metrics import ViewMetrics
from eventsourcing_kafka.consumer.engine.parking import Skip
from eventsourcing_kafka.consumer.engine.protocol import OpenWriteModel, Store
from eventsourcing_kafka.consumer.engine.search import ChainSearch
from eventsourcing_kafka.consumer.engine.store import NotReplayableError, group_of
from eventsourcing_kafka.consumer.engine.subscription import (
    PACING,
    Pacing,
    Subscription,
    TrackingReader,
)
from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking
from eventsourcing_kafka.consumer.engine.work_queue import WORTH_SHARING, WorkQueue
from eventsourcing_kafka.producer.kafka.clients import groupless_consumer
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partitions_of, read_retention_risks
from eventsourcing_kafka.producer.runtime.drain import draining
from eventsourcing_kafka.producer.runtime.retry import LoopHealth, retrying

logger = logging.getLogger(__name__)

MOVED = "the tracking was moved: going on from there"
TOPIC_POLL_SECONDS = 0.1
IDLE_POLLS = 4
"""To find nothing to apply so often is as good as to have applied something."""


class Consumer:
    """Keeps one view up to date, as one of any number of members of the view's group.

    When it is told to stop, a batch that is being applied has `grace` seconds to finish; one that
    takes longer than `stuck` seconds means that a client is stuck: all start again.
    What is read at once has at most `limit` records, and so many may wait for one of the workers
    to be free. There is one for each of the `connections`: it claims whole partitions, once there
    are more than `worth_sharing` records, so that Postgres works on more than one core, and while
    more is read.
    `stopped` tells which partitions have stopped, and why, and `ended` which its applier takes no
    further; `placed` is set once it has been given its partitions. What Kafka has deleted is read
    from the `write_model`, if there is one; where the tracking is there already, `all_published`
    is. Of parked events it says where they are listed, unless a `parked_hint` says otherwise. Its
    group is the view's, unless it is given one.
    """

    def __init__(
        self,
        store: Store,
        settings: KafkaSettings,
        *,
        on_error: OnError = OnError.PARK,
        limit: int = 2500,
        connections: int = 2,
        grace: float = 10.0,
        stuck: float = 300.0,
        instance: str | None = None,
        indexed: bool = True,
        applier: Applier | None = None,
        worth_sharing: int = WORTH_SHARING,
        pacing: Pacing = PACING,
        write_model: OpenWriteModel | None = None,
        all_published: bool = False,
        parked_hint: str = "",
        group: str = "",
    ) -> None:
        self.stopped: dict[int, str] = {}
        self.ended: set[int] = set()
        self.seen: Mapping[int, Tracking] = {}
        self.health = LoopHealth()
        self.placed = anyio.Event()
        self.store = store
        self._log = ViewLog(logger, store.view.name)
        self._metrics = ViewMetrics(store.view.name)
        self._applier = applier or Applier(store, on_error)
        self._settings = settings
        self._limit = limit
        self._workers = connections if store.capabilities.concurrent else 1
        self._worth_sharing = worth_sharing
        self._pacing = pacing
        self._write_model = write_model
        self._all_published = all_published
        self._parked_hint = parked_hint or (
            f"eventsourcing-kafka consumer parked list --view {store.view.arguments}"
        )
        self._grace = grace
        self._stuck = stuck
        self._instance = instance
        self._prepare = partial(store.prepare, indexed=indexed)
        self._group = group or group_of(store, settings)
        self._warned = False
        self._backfill: Backfill | None = None
        self._in_postgres = {
            # Commits do not wait for the disk. After a crash of the database the view and its
            # tracking are both as they were shortly before, and Kafka still has the records.
            "synchronous_commit": "off",
            # What a process that stands still has locked goes to its successor.
            "idle_in_transaction_session_timeout": f"{stuck:.0f}s",
            "transaction_timeout": f"{stuck:.0f}s",
        }

    async def run(self) -> None:
        """Apply for ever; lost servers are waited out.

        Raises `PartitionsChangedError` or `ShapeChangedError`: what only a person can settle.
        """
        await retrying(f"view {self.store.view.name}", self._apply_what_comes, self.health)

    def waits_for_write_model(self) -> Sequence[str]:
        """Return why what Kafka has deleted can't be read for now; nothing if it can."""
        return self._backfill.waits_for() if self._backfill else ()

    async def _warn_of_retention(self) -> None:
        """Say once what in the topic's settings deletes events."""
        if not self._warned:
            for risk in await read_retention_risks(
                self.store.view.application_name, self._settings
            ):
                self._log.warning("%s", risk)
        self._warned = True

    async def _apply_what_comes(self, progressed: Callable[[], None]) -> None:
        partitions = await self._partitions()
        await self._warn_of_retention()
        async with (
            self._working() as connections,
            self._joined(partitions) as subscription,
            self._backfilling(partitions, subscription) as backfill,
            self._looking(partitions, subscription, backfill) as lookout,
            self._marking(subscription) as marking,
        ):
            await self.store.run(self._prepare, connections[0], partitions)
            self.seen = subscription.seen
            queue = WorkQueue(len(connections), self._limit, self._worth_sharing)
            session = _Session(partitions, subscription, queue, progressed, anyio.Lock())
            async with anyio.create_task_group() as workers:
                workers.start_soon(lookout.run)
                if backfill:
                    workers.start_soon(backfill.run, session.add)
                workers.start_soon(self._tell_when_placed, subscription)
                for low_water in marking:
                    workers.start_soon(low_water.run)
                for connection in connections:
                    workers.start_soon(self._apply, session, connection)
                await self._read(session, connections[0])

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[Sequence[Any]]:
        async with AsyncExitStack() as opened:
            yield [
                await opened.enter_async_context(self.store.working(self._in_postgres))
                for _ in range(self._workers)
            ]

    async def _read(self, session: _Session, connection: Any) -> None:
        """Queue what comes; when nothing does, see whether the tracking was moved."""
        idle = 0
        async with aclosing(session.subscription.batches()) as batches:
            async for batch in batches:
                await session.queue.add(batch)
                idle = 0 if batch else idle + 1
                if idle and session.queue.is_empty:
                    await self._see_whether_moved(session, connection)
                if idle == IDLE_POLLS:
                    session.progressed()

    async def _see_whether_moved(self, session: _Session, connection: Any) -> None:
        async with session.feeding:  # Or a worker would use the connection at the same time.
            seen = dict(session.subscription.seen)
            if session.queue.is_empty and await self._tracked(connection, seen) != seen:
                self._log.info(MOVED)
                await self._go_on_from_the_tracking(session, connection)

    async def _apply(self, session: _Session, connection: Any) -> None:
        """Apply what a worker claims of the queue, again and again."""
        subscription, queue = session.subscription, session.queue
        async with draining(self._grace) as in_flight:
            while True:
                await queue.claimable()
                with queue.claim(subscription.seen) as batch:
                    if not batch:
                        continue
                    seen = {span.partition: subscription.seen[span.partition] for span in batch}
                    async with in_flight():
                        with anyio.fail_after(self._stuck), self._metrics.batch():
                            outcome = await self.store.run(
                                self._applier.apply, connection, batch, seen
                            )
                    match outcome:
                        case Applied():
                            subscription.advance(seen, outcome.trackings)
                            self._note(subscription, outcome)
                        case Moved():
                            self._log.info(MOVED)
                            await self._go_on_from_the_tracking(session, connection)
                        case Deferred():
                            await self._go_on_from_the_tracking(session, connection)
                        case _:
                            assert_never(outcome)
                    session.progressed()

    async def _go_on_from_the_tracking(self, session: _Session, connection: Any) -> None:
        """Find out where the tracking is, and go on from there."""
        await self.store.run(self._prepare, connection, session.partitions)
        seen = dict(session.subscription.seen)
        found = await self._tracked(connection, seen)
        self._metrics.moved(seen, list(found.values()))
        # What another worker has brought on meanwhile is not where it was found.
        now = session.subscription.seen
        unmoved = {number for number in seen if now.get(number) == seen[number]}
        session.subscription.seek(found[number] for number in unmoved & found.keys())

    async def _tracked(
        self, connection: Any, partitions: Collection[int]
    ) -> Mapping[int, Tracking]:
        return await self.store.run(self.store.tracking.read, connection, list(partitions))

    def _note(self, subscription: Subscription, applied: Applied) -> None:
        for tracking in applied.trackings:
            self.stopped.pop(tracking.partition, None)
        for partition in applied.stopped:
            self._log.error(
                "partition %d has stopped before an event that can't be applied: "
                "eventsourcing-kafka consumer status %s says why",
                partition,
                self.store.view.arguments,
            )
            subscription.stop(partition)
        for partition in applied.broken:
            subscription.break_off(partition)
        for partition in applied.ended:
            subscription.stop(partition)
        self.ended.update(applied.ended)
        self.stopped |= applied.stopped
        self._metrics.applied(applied)
        if applied.parked:
            self._log.warning("%d events parked: %s", applied.parked, self._parked_hint)

    async def _partitions(self) -> int:
        """Return how many partitions the topic has, once the relay has made it."""
        topic = Topics.of(self.store.view.application_name, self._settings).events
        told = False
        while not (partitions := await partitions_of(topic, self._settings)):
            if not told:
                # Kafka does not tell the one from the other, so that nobody can guess names.
                self._log.info(
                    "waiting for the topic %s: its relay makes it, or we may not read it", topic
                )
            told = True
            await anyio.sleep(TOPIC_POLL_SECONDS)
        return partitions

    @asynccontextmanager
    async def _backfilling(
        self, partitions: int, subscription: Subscription
    ) -> AsyncIterator[Backfill | None]:
        """Yield what reads the write model, if there is a way to it."""
        if not self._write_model:
            yield None
            return
        async with self.store.connected() as connection, self._reader(partitions) as reader:
            self._backfill = Backfill(
                self.store,
                connection,
                subscription,
                reader,
                self._write_model,
                self.stopped,
                self.ended,
                partitions,
            )
            yield self._backfill

    @asynccontextmanager
    async def _looking(
        self, partitions: int, subscription: Subscription, backfill: Backfill | None
    ) -> AsyncIterator[Lookout]:
        async with (
            self.store.connected() as connection,
            self._reader(partitions) as reader,
        ):
            yield Lookout(
                self.store,
                connection,
                subscription,
                reader,
                self._settings,
                self.stopped,
                self._pacing,
                backfill,
                all_published=self._all_published,
            )

    @asynccontextmanager
    async def _marking(self, subscription: Subscription) -> AsyncIterator[Sequence[LowWater]]:
        """Yield what keeps the low-water mark; nothing where nobody waits for that."""
        if not self.store.capabilities.marked:
            yield ()
            return
        topics = Topics.of(self.store.view.application_name, self._settings)
        async with (
            self.store.connected() as connection,
            groupless_consumer(self._settings) as kafka,
        ):
            low_water = LowWater(self.store, connection, subscription, kafka, topics)
            async with low_water.raised_at_the_end():
                yield (low_water,)

    async def _tell_when_placed(self, subscription: Subscription) -> None:
        await subscription.placed()
        self.placed.set()

    @asynccontextmanager
    async def _reader(self, partitions: int) -> AsyncIterator[ChainSearch]:
        view = self.store.view
        topics = Topics.of(view.application_name, self._settings)
        async with groupless_consumer(self._settings) as kafka:
            yield ChainSearch(kafka, topics, view.wire(), partitions)

    @asynccontextmanager
    async def _joined(self, partitions: int) -> AsyncIterator[Subscription]:
        view = self.store.view
        async with (
            self.store.connected() as connection,
            Subscription.joined(
                self._group,
                view.wire(),
                view.wanted,
                _StoreTracking(
                    self.store, connection, self._metrics, partial(self._reader, partitions)
                ),
                self._settings,
                partitions=partitions,
                limit=self._limit,
                instance=self._instance,
                pacing=self._pacing,
                name=view.name,
            ) as subscription,
        ):
            yield subscription


class _Session(NamedTuple):
    """What the tasks of one session have in common."""

    partitions: int
    subscription: Subscription
    queue: WorkQueue
    progressed: Callable[[], None]
    feeding: anyio.Lock
    """Who has it is the only one, besides the loop that reads Kafka, to add to the queue."""

    async def add(self, spans: Sequence[Span]) -> None:
        """Queue what comes from the write model."""
        async with self.feeding:
            await self.queue.add(spans)


class _StoreTracking(TrackingReader):
    """Where a view is in the partitions of its topic."""

    def __init__(
        self,
        store: Store,
        connection: Any,
        metrics: ViewMetrics,
        reader: Callable[[], AbstractAsyncContextManager[ChainSearch]],
    ) -> None:
        self._log = ViewLog(logger, store.view.name)
        self._store = store
        self._connection = connection
        self._metrics = metrics
        self._reader = reader

    async def read(self, partitions: Collection[int]) -> Mapping[int, Tracking]:
        return await self._store.tracking.read(self._connection, partitions)

    async def apply(self, reset: OffsetReset) -> None:
        match reset.kind:
            case ResetKind.REPLAY:
                self._log.warning(
                    "partition %d: replayed, as its group was set back", reset.partition
                )
                try:
                    await self._store.replay(self._connection, [reset.partition])
                    self._metrics.replayed(1)
                except NotReplayableError as error:
                    self._log.error("%s", error)
            case ResetKind.SKIP:
                await self._skip(reset.partition, reset.offset)
            case _:
                assert_never(reset.kind)

    async def _skip(self, partition: int, offset: int) -> None:
        """Have the view pass over what lies before an offset: up to the predecessor of its record.

        That is never backwards, which is what a replay is for, or a rebuild.
        """
        seen = (await self.read([partition]))[partition]
        async with self._reader() as reader:
            to = await reader.before(partition, offset)
        if to.text == seen.link.text:
            await self._pass_over(seen, offset)
            return
        if to.position < seen.position:
            self._log.error(
                "partition %d: not skipped to offset %d: the record before it is %s, and %s is "
                "applied already",
                partition,
                offset,
                to.text,
                seen.link.text,
            )
            return
        self._log.warning(
            "partition %d: skipped to offset %d, from %s to %s",
            partition,
            offset,
            seen.link.text,
            to.text,
        )
        await self._store.skip(self._connection, Skip(seen, reader.topic, offset, to))

    async def _pass_over(self, seen: Tracking, offset: int) -> None:
        """Go on with the next record of the chain, which an operator has found behind others.

        What lies between is none of it, though it looks like the relay's: nothing is lost by it.
        """
        to = seen._replace(offset=offset)
        if offset > seen.offset and await self._store.move(self._connection, Move(seen, to)):
            self._log.warning(
                "partition %d: passed over what does not follow, from offset %d to %d",
                seen.partition,
                seen.offset,
                offset - 1,
            )
