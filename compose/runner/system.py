"""A System over Kafka: a relay for every leader, a consumer for every edge."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any, TypeVar

from eventsourcing.application import Application, ProgrammingError
from eventsourcing.projection import EventSourcedProjection
from eventsourcing.system import Runner, System
from eventsourcing.utils import EnvType

from eventsourcing_kafka.compose.runner.memory import Names
from eventsourcing_kafka.compose.runner.parts import Parts
from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.engine.protocol import OpenWriteModel
from eventsourcing_kafka.consumer.hosting.edge import SOME_SYSTEM, follow, is_in_postgres
from eventsourcing_kafka.consumer.hosting.mapper import mapper_of
from eventsourcing_kafka.consumer.operations.history import write_model_in, write_model_of
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.applications import reach_blocking
from eventsourcing_kafka.producer.runtime.construct import construct
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.health import Report
from eventsourcing_kafka.producer.runtime.secrets import with_password_files

A = TypeVar("A", bound=Application[Any])


class KafkaRunner(Runner[Any]):
    """Runs a system's applications, with Kafka between them.

    The applications are there as soon as it is constructed, in `apps` by their names. Commands that
    are given before the start are caught up. `has_errored` is set when an error ends a part.
    """

    def __init__(
        self,
        system: System,
        env: EnvType | None = None,
        *,
        only: Collection[str] | None = None,
        on_error: OnError = OnError.PARK,
    ) -> None:
        """Run `system`, configured by `env` over the process's own environment.

        `only` names the applications to run here, each on its own machine if you like. An event
        that can't be applied is parked, unless `on_error` says that it ends the runner, or stops
        its partition. Raises `SettingsError` if the system has not one of the applications, and
        `PostgresUnreachableError`, with the reason, if a database of theirs can't be reached.
        """
        settings = with_password_files({**os.environ, **(env or {})})
        super().__init__(system, settings)
        names = selected(system, only)
        kafka = KafkaSettings.from_env(settings)
        self._names = Names(kafka)
        self._parts = Parts(kafka, settings, self._names)
        self._on_error = on_error
        self._hosted: list[Application[Any]] = []
        self.apps: dict[str, Application[Any]] = {}
        with self._closed_on_error():
            for name in names:
                reach_blocking(system.get_app_cls(name), settings)
                self.apps[name] = construct(system.get_app_cls(name), self.env)

    @property
    def has_errored(self) -> Event:
        """Set when an error has ended a relay or a consumer."""
        return self._parts.has_errored

    def start(self) -> None:
        """Start the relays and the consumers; return when those have their partitions.

        Raises `RunnerAlreadyStartedError`, and `WireError` if the events of a leader can't all be
        published.
        """
        super().start()
        with self._closed_on_error():
            for name, app in self.apps.items():
                if name in self.system.leads:
                    self._parts.add_relay(app, self._names.settings_of(app))
                for leader in self.system.follows.get(name, ()):
                    self._follow(name, leader)
            self._parts.start()

    def stop(self) -> None:
        """Finish the batches in hand, stop, and close the applications.

        Raises the error that ended a relay or a consumer, if nobody who waited has seen it.
        """
        self._parts.stop()
        self._close()
        self._parts.raise_unseen_error()

    def get(self, cls: type[A]) -> A:
        """Return the application of a class, from the construction of the runner to its stop."""
        app = self.apps[cls.name]
        assert isinstance(app, cls)  # noqa: S101 - as the library's runners do
        return app

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until everything done so far has gone through the whole system, over all hops.

        Raises `TimeoutError` after `timeout` seconds, or the error that ended a part of it.
        """
        self._parts.wait(timeout)

    def run_forever(self, timeout: float | None = None) -> None:
        """Block until it is stopped, or for `timeout` seconds; raise the error that ends a part."""
        self._parts.run_forever(timeout)

    def health(self) -> Sequence[Report]:
        """Return how well each part is, the relay's and each consumer's; it blocks for a moment.

        One that has ended with an error, or has lost its server, is not healthy, and says why.
        """
        return self._parts.health()

    def watch_for_errors(self, timeout: float | None = None) -> bool:
        """Block until an error ends a part, and then stop, which raises it; or for some seconds.

        False if there was none.
        """
        if self.has_errored.wait(timeout):
            self.stop()
        return self.has_errored.is_set()

    def _follow(self, name: str, leader: str) -> None:
        app: Any = self.apps[name]
        if is_in_postgres(app.recorder):
            # One of its own: what a batch has in memory is nobody else's to see.
            app = construct(self.system.get_app_cls(name), self.env)
            self._hosted.append(app)
        assert isinstance(app, EventSourcedProjection)  # noqa: S101 - the system has checked it
        leader_class = self.system.get_app_cls(leader)
        settings = self._names.settings_to_follow(self.apps.get(leader), app.recorder)
        mapper = mapper_of(leader_class, app, self.env)
        consumer = follow(
            name,
            app,
            app.recorder,
            leader_class,
            mapper,
            settings,
            self._on_error,
            system=_topic_of(self.system),
            write_model=partial(self._write_model, leader),
        )
        self._parts.add_consumer(consumer, leader, settings)

    def _write_model(self, leader: str, view: View) -> OpenWriteModel:
        """Return what opens a leader's write model: that of its application, if it is here."""
        if app := self.apps.get(leader):
            return write_model_in(app, view)
        return write_model_of(view, self.env or {}, self.system.get_app_cls(leader))

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        for app in (*self.apps.values(), *self._hosted):
            app.close()
        self.apps.clear()
        self._hosted.clear()


def _topic_of(system: System) -> str:
    """Return what names a system on a command line, if it is an attribute of its module."""
    try:
        topic = system.topic
    except (AttributeError, ProgrammingError):
        return SOME_SYSTEM
    return SOME_SYSTEM if topic.startswith("__main__:") else topic


def selected(system: System, only: Collection[str] | None) -> list[str]:
    """Return the names of the applications to run.

    Raises `SettingsError` for one that the system has not.
    """
    unknown = set(only or ()) - set(system.nodes)
    if unknown:
        raise SettingsError(
            f"The system has no application {min(unknown)!r}. It has: {', '.join(system.nodes)}."
        )
    return [name for name in system.nodes if not only or name in only]
