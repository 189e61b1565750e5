"""A projection over Kafka: a relay for its application, and a consumer for the projection."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from threading import Event, Thread
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar, cast, get_origin

from eventsourcing.application import Application
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.persistence import (
    TrackingRecorder,
    WaitInterruptedError,
)
from eventsourcing.projection import EventSourcedProjection, Projection
from eventsourcing.utils import EnvType

from eventsourcing_kafka.compose.runner.memory import Names
from eventsourcing_kafka.compose.runner.parts import Parts
from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.hosting.edge import follow, is_in_postgres
from eventsourcing_kafka.consumer.hosting.follower import Follower
from eventsourcing_kafka.consumer.hosting.mapper import mapper_in
from eventsourcing_kafka.consumer.operations.history import write_model_in
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.applications import AnyApplication, reach_blocking
from eventsourcing_kafka.producer.runtime.construct import construct, construct_view
from eventsourcing_kafka.producer.runtime.health import Report
from eventsourcing_kafka.producer.runtime.secrets import with_password_files

TApplication = TypeVar("TApplication", bound=AnyApplication)
TView = TypeVar("TView", bound=TrackingRecorder)
TProjection = TypeVar("TProjection", bound=EventSourcedProjection[Any])


class _Hosted(NamedTuple):
    """What processes the events: in Postgres it is not what the program sees, but its equal.

    There a batch's work is not committed, and nobody else's to see.
    """

    name: str
    follower: Follower
    recorder: TrackingRecorder


class _KafkaProjectionRunner(Generic[TApplication]):
    """What both kinds of runner do.

    It runs from its construction on, which ends when the consumer has its partitions. An error of
    the projection ends it and surfaces, unless `on_error` says that the event is parked, or stops
    its partition.
    """

    def __init__(
        self,
        application_class: type[TApplication],
        recorder: TrackingRecorder,
        hosted: _Hosted,
        env: EnvType | None,
        on_error: OnError,
    ) -> None:
        environment = _full_environment(env)
        cls = _application(application_class)
        reach_blocking(cls, environment)
        self.app = cast("TApplication", construct(cls, environment))
        self.app_name = self.app.name
        self._tracking_recorder = recorder
        self._has_called_stop = False
        try:
            self._parts = self._started(cls, hosted, environment, on_error)
        except BaseException:
            self.app.close()
            raise

    def _started(
        self,
        cls: type[AnyApplication],
        hosted: _Hosted,
        environment: dict[str, str],
        on_error: OnError,
    ) -> Parts:
        settings = KafkaSettings.from_env(environment)
        names = Names(settings)
        parts = Parts(settings, environment, names)
        parts.add_relay(self.app, names.settings_of(self.app))
        to_follow = names.settings_to_follow(self.app, hosted.recorder)
        consumer = follow(
            *hosted,
            cls,
            mapper_in(self.app),
            to_follow,
            on_error,
            write_model=partial(write_model_in, self.app),
        )
        parts.add_consumer(consumer, self.app.name, to_follow)
        parts.start()
        return parts

    @property
    def is_running(self) -> bool:
        """Whether nobody has stopped it."""
        return not self._has_called_stop

    @property
    def is_interrupted(self) -> Event:
        """Set when it is stopped, or has ended with an error."""
        return self._parts.has_ended

    def wait(self, notification_id: int | None, timeout: float = 1.0) -> None:
        """Wait until the projection has processed all up to a position; None returns at once.

        Raises `TimeoutError` after `timeout` seconds, or the projection's error, each time.
        Returns early if it is stopped meanwhile.
        """
        try:
            self._tracking_recorder.wait(
                self.app_name, notification_id, timeout=timeout, interrupt=self.is_interrupted
            )
        except WaitInterruptedError:
            self._parts.raise_error()
            if self.is_running:
                raise

    def run_forever(self, timeout: float | None = None) -> None:
        """Block until it is stopped, or for `timeout` seconds; raise the projection's error."""
        self._parts.run_forever(timeout)

    def health(self) -> Sequence[Report]:
        """Return how well each part is, the relay's and each consumer's; it blocks for a moment.

        One that has ended with an error, or has lost its server, is not healthy, and says why.
        """
        return self._parts.health()

    def stop(self) -> None:
        """Finish the batch in hand, and stop."""
        self._has_called_stop = True
        self._parts.stop()

    def __enter__(self) -> Self:
        """Do nothing more: it runs since it was constructed, as the library's runners do."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Stop, close the application, and raise the projection's error if nobody has seen it."""
        self.stop()
        self.app.close()
        self._parts.raise_unseen_error()

    def __del__(self) -> None:
        """Stop, as whoever forgets a runner of the library's has it stopped; nobody waits."""
        with suppress(AttributeError, RuntimeError):  # It is half made, or Python ends.
            if self.is_running:
                Thread(target=self._parts.stop).start()


class KafkaProjectionRunner(_KafkaProjectionRunner[TApplication], Generic[TApplication, TView]):
    """Runs a projection of an application into a materialised view."""

    def __init__(
        self,
        *,
        application_class: type[TApplication],
        projection_class: type[Projection[TView]],
        view_class: type[TView],
        env: EnvType | None = None,
        on_error: OnError = OnError.RAISE,
    ) -> None:
        reach_blocking(projection_class, _full_environment(env))

        def make() -> TView:
            return construct_view(projection_class.name, _full_environment(env), view_class)[1]

        self.view = make()
        self.projection = projection_class(view=self.view)
        view, projection = self.view, self.projection
        if is_in_postgres(view):
            view = make()
            projection = projection_class(view=view)
        hosted = _Hosted(projection_class.name, projection, view)
        super().__init__(application_class, self.view, hosted, env, on_error)


class KafkaEventSourcedProjectionRunner(
    _KafkaProjectionRunner[TApplication], Generic[TApplication, TProjection]
):
    """Runs a projection of an application into another event-sourced application."""

    def __init__(
        self,
        *,
        application_class: type[TApplication],
        projection_class: type[TProjection],
        env: EnvType | None = None,
        on_error: OnError = OnError.RAISE,
    ) -> None:
        reach_blocking(projection_class, _full_environment(env))
        self.projection: TProjection = construct(projection_class, _full_environment(env))
        recorder = self.projection.recorder
        self._processing = self.projection
        if is_in_postgres(recorder):
            self._processing = construct(projection_class, _full_environment(env))
        hosted = _Hosted(projection_class.name, self._processing, self._processing.recorder)
        super().__init__(application_class, recorder, hosted, env, on_error)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the projection as well."""
        try:
            super().__exit__(exc_type, exc_val, exc_tb)
        finally:
            self._processing.close()
            self.projection.close()


def _application(application_class: Any) -> type[AnyApplication]:
    """Return the class itself, of one that is given as `Application[UUID]`, too."""
    cls: type[AnyApplication] = get_origin(application_class) or application_class
    if not issubclass(cls, (Application, DCBApplication)):
        raise TypeError(f"Unsupported application type: {application_class}")
    return cls


def _full_environment(env: EnvType | None) -> dict[str, str]:
    """Return `env` over the process's own environment, as the library takes it."""
    return with_password_files({**os.environ, **(env or {})})
