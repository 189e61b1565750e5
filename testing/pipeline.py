"""A whole pipeline in the process of a test: an application, its relay, and consumers of views."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, ParamSpec, Self, TypeVar

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from eventsourcing_kafka.compose.leaders import leader_of
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.outbox.tagged import notifications_in
from eventsourcing_kafka.producer.relay import Relay, read_status
from eventsourcing_kafka.producer.runtime.applications import AnyApplication
from eventsourcing_kafka.producer.wire import wire_of
from eventsourcing_kafka.testing.waiting import SECONDS, until

P = ParamSpec("P")
T = TypeVar("T")


class Part:
    """A relay or a consumer that runs."""

    def __init__(self, run: Callable[[], Awaitable[None]]) -> None:
        self._run = run
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    async def run(self) -> None:
        """Run until it is stopped; its errors go to whoever runs it."""
        with self._scope:
            await self._run()
        self._ended.set()

    async def stop(self) -> None:
        """Cancel it, and wait until it has ended."""
        self._scope.cancel()
        await self._ended.wait()


class PipelineUnderTest(anyio.AsyncContextManagerMixin):
    """An application, its relay, and some consumers of each view, on the servers of the settings.

    An error of one of them ends the context. Without an `application_class` it is the one that the
    first view says it follows, by its `application_topic`.
    """

    application: Any
    relay: Part

    def __init__(
        self,
        views: Sequence[View],
        environment: Mapping[str, str],
        application_class: type[AnyApplication] | None = None,
        *,
        consumers: int = 1,
        relay: bool = True,
    ) -> None:
        self.environment = dict(environment)
        self.settings = KafkaSettings.from_env(self.environment)
        self.stores = {view.name: ViewStore.of(view, self.environment) for view in views}
        self.consumers: list[Part] = []
        self._application_class = application_class or leader_of(views[0])
        self._wanted = (consumers, relay)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncIterator[Self]:
        self.application = await to_thread.run_sync(self._application_class, self.environment)
        self._outbox = outbox_of(self.application)
        self._wire = wire_of(self.application)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks: TaskGroup = tasks
                consumers, relay = self._wanted
                if relay:
                    self.start_relay()
                for store in self.stores.values():
                    for _ in range(consumers):
                        self.start_consumer(self.consumer(store))
                yield self
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self.application.close)

    def start_relay(self, **options: Any) -> None:
        """Start a relay, with these options of its own; it fences an earlier one off."""
        self.relay = self._start(Relay(self._outbox, self._wire, self.settings, **options).run)

    def start_consumer(self, consumer: Consumer | None = None) -> Part:
        """Start one more consumer; of the first view, if it is not said of which."""
        part = self._start((consumer or self.consumer()).run)
        self.consumers.append(part)
        return part

    def consumer(self, store: ViewStore | None = None, **options: Any) -> Consumer:
        """Return a consumer that does not run yet, and that has no time to finish when killed."""
        store = store or next(iter(self.stores.values()))
        return Consumer(store, self.settings, **{"grace": 0, **options})

    async def do(self, command: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a command of the application in a worker thread."""
        return await to_thread.run_sync(lambda: command(*args, **kwargs))

    async def published(self) -> None:
        """Wait until all that the application has stored is in Kafka."""
        await until(self._is_published)

    async def applied(self, store: ViewStore | None = None) -> None:
        """Wait until all views, or a single one, have all that the application has stored."""
        last = await self.do(self._last_positions)
        for each in [store] if store else self.stores.values():
            for originator_id, position in last.items():
                await each.wait(position, originator_id, seconds=SECONDS)

    async def rows(self, view: View, query: LiteralString, *values: Any) -> list[tuple[Any, ...]]:
        """Return what is in a view. `{schema}` stands for its schema, `%s` for a value."""
        store = self.stores[view.name]
        async with store.connected() as connection:
            cursor = await connection.execute(store.sql(query), values or None)
            return await cursor.fetchall()

    async def _is_published(self) -> bool:
        status = await read_status(self._outbox, self._wire, self.settings)
        return status.position == status.head

    def _last_positions(self) -> dict[str, int]:
        """Return the last position in each partition, by the key of its record."""
        notifications = notifications_in(self.application.recorder).select_notifications(
            0, 1_000_000, inclusive_of_start=False
        )
        count = self.settings.topic_partitions
        last: dict[int, tuple[str, int]] = {}
        for notification in notifications:
            key = self._wire.key_of(notification)
            last[partition_of(key, count)] = key.decode(), notification.id
        return dict(last.values())

    def _start(self, run: Callable[[], Awaitable[None]]) -> Part:
        part = Part(run)
        self._tasks.start_soon(part.run)
        return part
