"""A projection over Kafka: a relay for its application, and a consumer for the projection."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from eventsourcing.application import Application
from eventsourcing.persistence import (
    InfrastructureFactory,
    Mapper,
    TrackingRecorder,
)
from eventsourcing.postgres import PostgresRecorder
from eventsourcing.projection import EventSourcedProjection, Projection
from eventsourcing.utils import Environment, EnvType

from eventsourcing_kafka.compose.runner.memory import TopicsOfApplications
from eventsourcing_kafka.compose.runner.parts import Parts
from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.hosting.edge import follow
from eventsourcing_kafka.consumer.hosting.follower import Follower
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.secrets import with_password_files

TApplication = TypeVar("TApplication", bound=Application[Any])
TView = TypeVar("TView", bound=TrackingRecorder)
TProjection = TypeVar("TProjection", bound=EventSourcedProjection[Any])

Hosted = tuple[str, Follower, TrackingRecorder]


class _KafkaProjectionRunner(Generic[TApplication]):
    """What both kinds of runner do. An error of the projection ends it, and surfaces."""

    def __init__(
        self, application_class: type[TApplication], env: EnvType | None, hosted: Hosted
    ) -> None:
        environment = _full_environment(env)
        self.app = application_class(environment)
        settings = KafkaSettings.from_env(environment)
        name, follower, recorder = hosted
        mapper: Mapper[Any] = self.app.mapper
        topics = TopicsOfApplications(settings).settings_of(self.app)
        consumer = follow(
            name, follower, recorder, application_class, mapper, topics, OnError.RAISE
        )
        self._parts = Parts(settings, environment)
        self._parts.add_relay(self.app, topics)
        self._parts.add_consumer(consumer, self.app.name, topics)
        self._parts.start()

    def wait(self, notification_id: int | None, timeout: float = 30.0) -> None:
        """Wait until the projection has processed all up to a position; None returns at once.

        Raises `TimeoutError` after `timeout` seconds, or the projection's error.
        """
        if notification_id is not None:
            self._parts.wait(timeout, notification_id)

    def run_forever(self, timeout: float | None = None) -> None:
        """Block until it is stopped, or for `timeout` seconds; raise the projection's error."""
        self._parts.run_forever(timeout)

    def stop(self) -> None:
        """Finish the batch in hand, and stop."""
        self._parts.stop()

    def __enter__(self) -> Self:
        """Do nothing more: it runs since it was constructed, as the library's runners do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, close the application, and raise the projection's error if nobody has seen it."""
        self.stop()
        self.app.close()
        self._parts.raise_error()


class KafkaProjectionRunner(_KafkaProjectionRunner[TApplication], Generic[TApplication, TView]):
    """Runs a projection of an application into a materialised view."""

    def __init__(
        self,
        *,
        application_class: type[TApplication],
        projection_class: type[Projection[TView]],
        view_class: type[TView],
        env: EnvType | None = None,
    ) -> None:
        def construct() -> TView:
            named = Environment(projection_class.name, _full_environment(env))
            factory = InfrastructureFactory[Any].construct(named)
            view: TView = factory.tracking_recorder(view_class)
            return view

        self.view = construct()
        self.projection = projection_class(view=self.view)
        view = _separate_view(self.view, construct)
        hosted = projection_class(view=view)
        super().__init__(application_class, env, (projection_class.name, hosted, view))


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
    ) -> None:
        self.projection: TProjection = projection_class(_full_environment(env))
        hosted = self.projection
        if isinstance(hosted.recorder, PostgresRecorder):
            hosted = projection_class(_full_environment(env))
        super().__init__(application_class, env, (projection_class.name, hosted, hosted.recorder))


def _full_environment(env: EnvType | None) -> dict[str, str]:
    """Return `env` over the process's own environment, as the library takes it."""
    return with_password_files({**os.environ, **(env or {})})


def _separate_view(view: TView, construct: Callable[[], TView]) -> TView:
    """Return a view for the host alone, if it is in Postgres: a batch's work is not committed."""
    return construct() if isinstance(view, PostgresRecorder) else view
