"""Constructing an application of the library, and with it the tables that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from eventsourcing.application import Application
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.persistence import (
    DatabaseError,
    InfrastructureFactory,
    OperationalError,
    TrackingRecorder,
)
from eventsourcing.utils import Environment
from psycopg.errors import DeadlockDetected
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

A = TypeVar("A", bound=Application[Any] | DCBApplication)
V = TypeVar("V", bound=TrackingRecorder)


def _is_conflict(error: BaseException) -> bool:
    """Tell whether another process made its tables at once: not that Postgres can't be reached."""
    if isinstance(error, OperationalError):
        return isinstance(error.__cause__, DeadlockDetected)
    return isinstance(error, DatabaseError)


# When several processes create the tables of a new database at once, Postgres fails some of them,
# IF NOT EXISTS notwithstanding. At the next attempt the tables are there.
_at_once_with_others = retry(
    retry=retry_if_exception(_is_conflict),
    stop=stop_after_attempt(5),
    wait=wait_random(0.05, 0.3),
    reraise=True,
)


@_at_once_with_others
def construct(cls: type[A], env: Mapping[str, str] | None) -> A:
    """Construct an application, though others construct theirs on the same database meanwhile.

    If that fails nothing is left of it: neither sessions nor threads.
    """
    app = cls.__new__(cls)
    try:
        app.__init__(env=env)  # type: ignore[misc]
    except BaseException:
        # The garbage collector would do so too, but in any thread, even in one that closing joins.
        if factory := getattr(app, "factory", None):
            factory.close()
        raise
    return app


@_at_once_with_others
def construct_view(
    name: str, env: Mapping[str, str], view_class: type[V] | None
) -> tuple[InfrastructureFactory[V], V]:
    """Construct what a projection keeps, and the factory that closes it, as `construct` does."""
    factory: InfrastructureFactory[V] = InfrastructureFactory.construct(
        Environment(name, dict(env))
    )
    try:
        return factory, factory.tracking_recorder(view_class)
    except BaseException:
        factory.close()
        raise
