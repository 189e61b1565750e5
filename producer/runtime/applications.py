"""Opening an application of the library on the database that its settings name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, TypeVar

import typer
from anyio import to_thread
from eventsourcing.application import Application
from eventsourcing.postgres import PostgresFactory
from eventsourcing.utils import Environment

from eventsourcing_kafka.producer.runtime.construct import construct
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.postgres import connect_arguments, connected
from eventsourcing_kafka.producer.runtime.retry import retrying
from eventsourcing_kafka.producer.runtime.secrets import with_password_files

CONTENT_MANAGEMENT = "eventsourcing_kafka.producer.contentmanagement.application:ContentManagement"

ApplicationTopic = Annotated[
    str,
    typer.Option("--application", "-a", help="The application, as module:Class.", metavar="TOPIC"),
]

A = TypeVar("A", bound=Application)  # type: ignore[type-arg]


def open_application(cls: type[A], env: Mapping[str, str]) -> A:
    """Construct an application on the database that its settings name.

    Raises `SettingsError` when they name none: its events would be lost at exit.
    """
    settings = with_password_files(env)
    module = Environment(cls.name, settings).get("PERSISTENCE_MODULE") or "eventsourcing.popo"
    if module == "eventsourcing.popo":
        raise SettingsError(
            "PERSISTENCE_MODULE is not set, so the events would be in memory only and lost at "
            "exit. Set it, and the POSTGRES_… or SQLITE_… settings, to the write model's database. "
            "A stack on this machine prints its own: eventsourcing-kafka compose env"
        )
    return construct(cls, settings)


async def reach(cls: type[Any], env: Mapping[str, str]) -> None:
    """Connect once to the database that the settings of an application, or a projection, name.

    Where that fails `open_application` would wait for minutes, give no reason, and not hear Ctrl-C.
    Raises psycopg's `OperationalError`, with the reason.
    """
    settings = Environment(cls.name, with_password_files(env))
    if settings.get("PERSISTENCE_MODULE") == "eventsourcing.postgres":
        async with connected(**connect_arguments(PostgresFactory(settings).datastore)):
            pass


async def open_reached(cls: type[A], env: Mapping[str, str]) -> A:
    """Do as `open_application`, in a thread, once the database can be connected to.

    A thread that waits for a database can't be cancelled, and keeps the program from ending.
    """
    await reach(cls, env)
    return await to_thread.run_sync(open_application, cls, env, abandon_on_cancel=True)


async def wait_until_reachable(
    name: str, classes: Collection[type[Any]], env: Mapping[str, str]
) -> bool:
    """Wait, for ever, until the databases of applications can be connected to; then return True.

    They may be projections, too.

    Meanwhile the log says what is waited for, by `name`.
    """

    async def session(progressed: Callable[[], None]) -> None:
        for cls in classes:
            await reach(cls, env)
        progressed()

    await retrying(name, session)
    return True


async def open_when_reachable(cls: type[A], env: Mapping[str, str]) -> A:
    """Do as `open_reached` for a relay: a lost database is waited for, for ever."""
    opened: list[A] = []

    async def session(progressed: Callable[[], None]) -> None:
        opened.append(await open_reached(cls, env))
        progressed()

    await retrying(f"relay of {cls.name}", session)
    return opened[0]
