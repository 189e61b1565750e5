"""Making an application of the library, and with it the tables that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from eventsourcing.application import Application
from eventsourcing.persistence import DatabaseError, OperationalError
from psycopg.errors import DeadlockDetected
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

A = TypeVar("A", bound=Application)  # type: ignore[type-arg]


def _came_in_the_way(error: BaseException) -> bool:
    """Tell whether Postgres has stopped us for another one: not that it can't be reached."""
    if isinstance(error, OperationalError):
        return isinstance(error.__cause__, DeadlockDetected)
    return isinstance(error, DatabaseError)


# Of several processes that make the tables of a new database at once, Postgres stops some,
# IF NOT EXISTS notwithstanding. The next time they are there.
@retry(
    retry=retry_if_exception(_came_in_the_way),
    stop=stop_after_attempt(5),
    wait=wait_random(0.05, 0.3),
    reraise=True,
)
def construct(cls: type[A], env: Mapping[str, str] | None) -> A:
    """Make an application, though others make theirs on the same database meanwhile.

    Of one that can't be made nothing is left: neither sessions nor threads.
    """
    app = cls.__new__(cls)
    try:
        app.__init__(env=env)  # type: ignore[misc]
    except BaseException:
        # The garbage collector would close it, too, in any thread: also in one that it waits for.
        if factory := getattr(app, "factory", None):
            factory.close()
        raise
    return app
