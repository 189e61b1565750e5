"""Runs any `eventsourcing` System over Kafka, unchanged.

In this process there is a relay for every leader, and a consumer for every edge of the system.
`only` runs a part of it here: each application can live on a machine of its own.

This is the one module of `consumer` that knows the relay: a runner is both ends in one process.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import ExitStack
from functools import partial
from threading import Event
from typing import Any, TypeVar

import anyio
import anyio.abc
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from anyio.from_thread import BlockingPortal, start_blocking_portal
from eventsourcing.application import Application
from eventsourcing.persistence import Mapper
from eventsourcing.popo import POPOApplicationRecorder
from eventsourcing.postgres import PostgresApplicationRecorder
from eventsourcing.projection import EventSourcedProjection
from eventsourcing.system import Runner, System
from eventsourcing.utils import EnvType

from consumer.consumer import Consumer
from consumer.hosting.edge import follow
from producer.outbox import outbox_of
from producer.relay import Relay
from producer.wire import EventTypes, KafkaSettings, Topics, WireFormat
from producer.wire.endurance import first_error
from producer.wire.kafka import partitions_of, started
from producer.wire.terminal import SettingsError

A = TypeVar("A", bound=Application[Any])

POLL_SECONDS = 0.02


class KafkaRunner(Runner[Any]):
    """Runs a system's applications, with Kafka between them."""

    def __init__(
        self, system: System, env: EnvType | None = None, *, only: Collection[str] | None = None
    ) -> None:
        """Run `system`, configured by `env` over the process's own environment.

        Raises `SettingsError` if `only` names an application that the system does not have.
        """
        super().__init__(system, env)
        self._names = _chosen(system, only)
        self._settings = KafkaSettings.from_env({**os.environ, **(env or {})})
        # What is in memory only ends with the process, and so do the topics it is published to.
        self._passing = msgspec.structs.replace(
            self._settings, topic_prefix=f"{self._settings.topic_prefix}{uuid.uuid4().hex}."
        )
        self._apps: dict[str, Application[Any]] = {}
        self._hosted: list[Application[Any]] = []
        self._relays: dict[str, Relay] = {}
        self._consumers: list[tuple[str, Consumer]] = []
        self._error: BaseException | None = None
        self._ended = Event()
        self._exit = ExitStack()
        self._portal: BlockingPortal
        self._scope: anyio.CancelScope

    def start(self) -> None:
        """Construct the applications, and start the relays and the consumers."""
        super().start()
        for name in self._names:
            self._apps[name] = self.system.get_app_cls(name)(env=self.env)
        for name in self._names:
            if name in self.system.leads:
                self._relays[name] = self._relay(self._apps[name])
            for leader in self.system.follows.get(name, ()):
                self._consumers.append((leader, self._consumer(name, leader)))
        self._portal = self._exit.enter_context(start_blocking_portal())
        running, self._scope = self._portal.start_task(self._run)
        self._exit.callback(running.result)
        self._exit.callback(self._portal.call, self._cancel)

    def stop(self) -> None:
        """Finish the batches in hand, stop, and close the applications.

        Raises the error that ended a relay or a consumer, if nobody who waited has seen it.
        """
        self._ended.set()
        self._exit.close()
        for app in (*self._apps.values(), *self._hosted):
            app.close()
        self._raise_error()

    def run_forever(self, timeout: float | None = None) -> None:
        """Block until it is stopped, or for `timeout` seconds; raise the error that ends a part."""
        self._ended.wait(timeout)
        self._raise_error()

    def get(self, cls: type[A]) -> A:
        """Return the application of a class."""
        app = self._apps[cls.name]
        assert isinstance(app, cls)  # noqa: S101 - as the library's runners do
        return app

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until everything done so far has gone through the whole system, over all hops.

        Raises `TimeoutError` after `timeout` seconds, or the error that ended a part of it.
        """
        self._portal.call(self._settled, timeout)
        self._raise_error()

    async def _run(self, *, task_status: anyio.abc.TaskStatus[anyio.CancelScope]) -> None:
        async with anyio.create_task_group() as parts:
            for relay in self._relays.values():
                parts.start_soon(self._keep, relay.run)
            for _, consumer in self._consumers:
                parts.start_soon(self._keep, consumer.run)
            task_status.started(parts.cancel_scope)

    async def _keep(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run a part; its error is for those who wait."""
        try:
            await run()
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._error = self._error or first_error(error)
            self._ended.set()

    async def _cancel(self) -> None:
        self._scope.cancel()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error:
            raise error

    def _relay(self, leader: Application[Any]) -> Relay:
        wire = WireFormat(leader.name, EventTypes(), leader.mapper)
        return Relay(outbox_of(leader), wire, self._settings_of(leader.name))

    def _consumer(self, name: str, leader: str) -> Consumer:
        app: Any = self._apps[name]
        leader_class = self.system.get_app_cls(leader)
        if isinstance(app.recorder, PostgresApplicationRecorder):
            app = self.system.get_app_cls(name)(env=self.env)
            self._hosted.append(app)
        assert isinstance(app, EventSourcedProjection)  # noqa: S101 - the system has checked it
        # As the library's followers do: the leader's settings, the follower's transcodings.
        factory = app.construct_factory(app.construct_env(leader, self.env))
        mapper: Mapper[Any] = factory.mapper(app.construct_transcoder())
        factory.close()
        return follow(name, app, app.recorder, leader_class, mapper, self._settings_of(leader))

    def _settings_of(self, leader: str) -> KafkaSettings:
        app = self._apps.get(leader)
        in_memory = app is not None and isinstance(app.recorder, POPOApplicationRecorder)
        return self._passing if in_memory else self._settings

    async def _settled(self, seconds: float) -> None:
        client = AIOKafkaConsumer(**self._settings.client(), isolation_level="read_committed")
        with anyio.fail_after(seconds):
            async with started(client) as kafka:
                before: Mapping[str, int] = {}
                # What a follower records is a new head, and has further to go.
                while (heads := await self._heads()) != before:
                    await self._until(partial(self._is_published, heads))
                    for leader, consumer in self._consumers:
                        await self._until(partial(self._is_applied, leader, consumer, kafka))
                    before = heads

    async def _until(self, done: Callable[[], Awaitable[bool]]) -> None:
        while not self._error and not await done():  # noqa: ASYNC110 - Kafka does not tell
            await anyio.sleep(POLL_SECONDS)

    async def _heads(self) -> Mapping[str, int]:
        return {name: await outbox_of(self._apps[name]).head() for name in self._relays}

    async def _is_published(self, heads: Mapping[str, int]) -> bool:
        return all(relay.position >= heads[name] for name, relay in self._relays.items())

    async def _is_applied(self, leader: str, consumer: Consumer, kafka: AIOKafkaConsumer) -> bool:
        topic = Topics.of(leader, self._settings_of(leader)).events
        partitions = range(await partitions_of(topic, self._settings))
        ends = await kafka.end_offsets([TopicPartition(topic, number) for number in partitions])
        return bool(ends) and all(
            number in consumer.seen and consumer.seen[number].offset >= end
            for (_, number), end in ends.items()
        )


def _chosen(system: System, only: Collection[str] | None) -> list[str]:
    unknown = set(only or ()) - set(system.nodes)
    if unknown:
        raise SettingsError(
            f"The system has no application {min(unknown)!r}. It has: {', '.join(system.nodes)}."
        )
    return [name for name in system.nodes if only is None or name in only]
