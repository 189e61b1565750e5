"""One edge of a system: a follower that follows one leader, made ready for the consumer's loop."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, TrackingRecorder
from eventsourcing.postgres import PostgresRecorder

from consumer.applying import OnError
from consumer.consumer import Consumer
from consumer.hosting.follower import Follower
from consumer.hosting.local import LocalApplying, LocalStore
from consumer.hosting.postgres import PostgresHost
from consumer.hosting.types import event_types_of
from consumer.store import ViewStore
from consumer.view import View
from producer.wire import EventTypes, KafkaSettings
from producer.wire.endurance import connect_arguments


class HostedStore(ViewStore):
    """Where a follower in Postgres has come to: in a schema for this edge, beside its tables."""

    def __init__(self, host: PostgresHost, view: View, connect: dict[str, Any]) -> None:
        super().__init__(view, connect, view.name, {})
        self._host = host

    def working(self, _settings: Mapping[str, str]) -> AbstractAsyncContextManager[Any]:
        """Work over the follower's own connection."""
        return self._host.connected()


def follow(
    name: str,
    follower: Follower,
    recorder: TrackingRecorder,
    leader: type[Application[Any]],
    mapper: Mapper[Any],
    settings: KafkaSettings,
    on_error: OnError = OnError.PARK,
) -> Consumer:
    """Return the consumer that has a follower, with its recorder, follow a leader.

    `mapper` is the leader's. The follower must be nobody else's if its recorder is in Postgres:
    what it has in memory during a batch is not committed yet.
    """
    view = _view(f"{name}_{leader.name}".lower(), follower, leader, mapper)
    if isinstance(recorder, PostgresRecorder):
        host = PostgresHost(follower, recorder.datastore, leader.name)
        view = replace(view, unit_of_work=host.unit_of_work)
        connect = connect_arguments(recorder.datastore)
        return Consumer(HostedStore(host, view, connect), settings, on_error=on_error)
    store: Any = LocalStore(view, follower, recorder, leader.name)
    applying: Any = LocalApplying(store, on_error)
    return Consumer(store, settings, applying=applying)


def _view(
    name: str, follower: Follower, leader: type[Application[Any]], mapper: Mapper[Any]
) -> View:
    types = event_types_of(leader)
    topics = set(getattr(follower, "topics", ()))
    return View(
        name=name,
        application_name=leader.name,
        types=types,
        wanted=EventTypes(known.cls for known in types if not topics or known.topic in topics),
        tables=(),
        create=(),
        unit_of_work=_none,
        mapper=mapper,
        hosted=True,
    )


def _none(_schema: str) -> Any:
    raise NotImplementedError  # A local follower applies event by event.
