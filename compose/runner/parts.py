"""Relays and consumers that run in a thread of their own, for callers that are not async."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from threading import Event
from types import TracebackType
from typing import Any

import anyio
import anyio.abc
import msgspec
from aiokafka import AIOKafkaConsumer
from anyio.from_thread import BlockingPortal, start_blocking_portal

from eventsourcing_kafka.compose.runner.memory import Names
from eventsourcing_kafka.consumer.engine.applying import CannotApplyError
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import NOT_THERE
from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.consumer.operations.health import ViewHealth
from eventsourcing_kafka.producer.kafka.clients import groupless_consumer
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partitions_of
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import Relay, RelayHealth
from eventsourcing_kafka.producer.runtime.applications import AnyApplication
from eventsourcing_kafka.producer.runtime.health import HealthCheck, Report
from eventsourcing_kafka.producer.runtime.metrics_server import listen_as_set, serving_metrics
from eventsourcing_kafka.producer.runtime.retry import first_error
from eventsourcing_kafka.producer.wire import wire_of
from eventsourcing_kafka.producer.wire.position import last_published, read_published

POLL_SECONDS = 0.02

PLACED_SECONDS = 30.0
"""So long a start waits for the consumers to have their partitions."""


Question = Callable[[], Awaitable[bool]]
Asked = Callable[[Mapping[str, int]], Awaitable[bool]]
"""Asks whether all is applied up to a position of each application."""


class Leading(msgspec.Struct, frozen=True):
    """An application, the relay that publishes its events, and where to."""

    app: Any
    relay: Relay
    topics: Topics


class Following(msgspec.Struct, frozen=True):
    """A consumer, whose events it applies, and where they are published."""

    consumer: Consumer
    leader: str
    topics: Topics


class Parts:
    """Relays and consumers, started and stopped together."""

    def __init__(self, settings: KafkaSettings, env: Mapping[str, str], names: Names) -> None:
        self.has_ended = Event()
        """Set when it is stopped, or an error ends a part."""
        self.has_errored = Event()
        self._settings = settings
        self._leadings: list[Leading] = []
        self._followings: list[Following] = []
        self._counts: dict[str, int] = {}
        self._names = names
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._is_seen = False
        self._exit = ExitStack()
        self._portal: BlockingPortal
        self._scope: anyio.CancelScope
        self._watched: list[HealthCheck[Any]] = []
        self._env = env

    def add_relay(self, leader: AnyApplication, settings: KafkaSettings) -> None:
        """Have the events of an application published."""
        wire = wire_of(leader)
        outbox = outbox_of(leader)
        relay = Relay(outbox, wire, settings)
        self._watched.append(RelayHealth(relay, outbox, wire, settings))
        self._leadings.append(Leading(leader, relay, Topics.of(leader.name, settings)))

    def add_consumer(self, consumer: Consumer, leader: str, settings: KafkaSettings) -> None:
        """Have the events of an application applied."""
        self._watched.append(ViewHealth(consumer, settings))
        self._followings.append(Following(consumer, leader, Topics.of(leader, settings)))

    def start(self) -> None:
        """Start all, and answer those who watch where `METRICS_PORT` says."""
        listener = listen_as_set(self._env)
        self._portal = self._exit.enter_context(start_blocking_portal())
        self._exit.callback(self._portal.call, self._names.delete_topics)
        running, self._scope = self._portal.start_task(self._run, listener)
        self._exit.callback(running.result)
        self._exit.callback(self._portal.call, self._cancel)
        self._portal.call(self._wait_until_placed)

    def stop(self) -> None:
        """Finish the batches in hand, and stop all."""
        self.has_ended.set()
        self._exit.close()

    def run_forever(self, timeout: float | None = None) -> None:
        """Block until it is stopped, or for `timeout` seconds; raise the error that ends a part."""
        self.has_ended.wait(timeout)
        self.raise_error()

    def wait(self, timeout: float, position: int = 0) -> None:
        """Wait until everything done so far has gone through all parts, over all hops.

        Every application is published up to `position` at least. Raises `TimeoutError` after
        `timeout` seconds, or the error that ended a part.
        """
        try:
            self._portal.call(self._wait_until_applied, timeout, position)
        finally:
            self.raise_error()

    def health(self) -> Sequence[Report]:
        """Compare each part with the true head, and judge it; one that has ended is not healthy."""
        return self._portal.call(self._reports)

    async def _reports(self) -> Sequence[Report]:
        return [await part.report() for part in self._watched]

    def raise_error(self) -> None:
        """Raise the error that ended a part, to each who waits."""
        if self._error:
            self._is_seen = True
            raise self._error.with_traceback(self._traceback)

    def raise_unseen_error(self) -> None:
        """Raise it if nobody has waited for it."""
        if not self._is_seen:
            self.raise_error()

    async def _run(
        self,
        listener: socket.socket | None,
        *,
        task_status: anyio.abc.TaskStatus[anyio.CancelScope],
    ) -> None:
        async with serving_metrics(self._watched, listener), anyio.create_task_group() as parts:
            for leading in self._leadings:
                parts.start_soon(self._keep, leading.relay.run)
            for following in self._followings:
                parts.start_soon(self._keep, following.consumer.run)
            task_status.started(parts.cancel_scope)

    async def _keep(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run a part; its error is for those who wait."""
        try:
            await run()
        except Exception as group:  # noqa: BLE001 - whatever it is
            error = first_error(group)
            policys = error.__cause__ if isinstance(error, CannotApplyError) else None
            self._error = self._error or policys or error
            self._traceback = self._error.__traceback__
            self.has_errored.set()
            self.has_ended.set()

    async def _wait_until_placed(self) -> None:
        """Wait until the consumers have their partitions, of applications that are published here.

        Nobody waits for ever: where Kafka can't be reached the log says so.
        """
        here = {leading.topics.events for leading in self._leadings}
        placed = [each.consumer.placed for each in self._followings if each.topics.events in here]
        with anyio.move_on_after(PLACED_SECONDS):
            await self._until(lambda: _all_set(placed))

    async def _cancel(self) -> None:
        self._scope.cancel()

    async def _wait_until_applied(self, seconds: float, position: int) -> None:
        with anyio.fail_after(seconds):
            async with (
                groupless_consumer(self._settings) as kafka,
                self._questions(kafka) as applied,
            ):
                before: Mapping[str, int] | None = None
                # What a follower records is a new head, and has further to go.
                while (heads := await self._heads(position)) != before and not self._error:
                    await self._until(partial(self._is_published, heads))
                    for is_applied in applied:
                        await self._until(partial(is_applied, heads))
                    before = heads

    @asynccontextmanager
    async def _questions(self, kafka: AIOKafkaConsumer) -> AsyncIterator[Sequence[Asked]]:
        """Connect to where each follower is; yield what asks whether it has applied all."""
        async with AsyncExitStack() as exits:
            connections = [
                await exits.enter_async_context(following.consumer.store.connected())
                for following in self._followings
            ]
            yield [
                partial(self._is_applied, following, connection, kafka)
                for following, connection in zip(self._followings, connections, strict=True)
            ]

    async def _until(self, done: Question) -> None:
        while not self._error and not await done():  # noqa: ASYNC110 - Kafka does not tell
            await anyio.sleep(POLL_SECONDS)

    async def _heads(self, position: int) -> Mapping[str, int]:
        apps = [leading.app for leading in self._leadings]
        return {app.name: max(position, await outbox_of(app).head()) for app in apps}

    async def _is_published(self, heads: Mapping[str, int]) -> bool:
        return all(
            [await self._position(leading) >= heads[leading.app.name] for leading in self._leadings]
        )

    async def _position(self, leading: Leading) -> int:
        """Return up to where an application is published, by whichever process's relay."""
        if leading.relay.position:
            return leading.relay.position
        published = await read_published(leading.topics, self._settings)
        return published.position if published else 0

    async def _is_applied(
        self,
        following: Following,
        connection: Any,
        kafka: AIOKafkaConsumer,
        heads: Mapping[str, int],
    ) -> bool:
        """Tell whether a follower has come to what the last position record says.

        Not to the ends of the partitions: Kafka answers that a transaction is committed a little
        before its records are there to be read.
        """
        partitions = range(await self._partitions_of(following.topics.events))
        published = await last_published(kafka, following.topics) if partitions else None
        head = heads.get(following.leader, 0)
        if published is None:
            return bool(partitions) and not head
        seen = await _applied(following.consumer, connection, partitions)
        links = {number: tracking.link for number, tracking in seen.items()}
        return published.position >= head and published.is_reached(links)

    async def _partitions_of(self, topic: str) -> int:
        """Return how many partitions a topic has, which is for ever once it is there."""
        if not self._counts.get(topic):
            self._counts[topic] = await partitions_of(topic, self._settings)
        return self._counts[topic]


async def _all_set(events: Collection[anyio.Event]) -> bool:
    return all(event.is_set() for event in events)


async def _applied(
    consumer: Consumer, connection: Any, partitions: Collection[int]
) -> Mapping[int, Tracking]:
    """Return how far a follower is, by whichever process.

    One that is not in Postgres tells no other process, and its recorder knows no offsets.
    """
    store = consumer.store
    if not store.capabilities.tracks_offsets:
        return consumer.seen
    try:
        return await store.tracking.read(connection, partitions)
    except NOT_THERE:
        return {}  # No consumer has been here yet.
