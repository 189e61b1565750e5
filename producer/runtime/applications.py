"""Opening an application of the library for a command."""

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


async def reach(cls: type[Application[Any]], env: Mapping[str, str]) -> None:
    """See whether the database that an application's settings name lets us in.

    `open_application` waits minutes for one that does not, says no reason, and may not hear Ctrl-C.
    Raises psycopg's `OperationalError`, with the reason.
    """
    settings = Environment(cls.name, with_password_files(env))
    if settings.get("PERSISTENCE_MODULE") == "eventsourcing.postgres":
        async with connected(**connect_arguments(PostgresFactory(settings).datastore)):
            pass


async def open_reached(cls: type[A], env: Mapping[str, str]) -> A:
    """Do as `open_application`, in a thread, once the database has let us in.

    A thread that waits for a database cannot be cancelled, and a program does not end before it.
    """
    await reach(cls, env)
    return await to_thread.run_sync(open_application, cls, env, abandon_on_cancel=True)


async def wait_until_reachable(
    name: str, classes: Collection[type[Application[Any]]], env: Mapping[str, str]
) -> bool:
    """Wait, for ever, until the databases of applications let us in: they did when it is True.

    Meanwhile the log says for what, and that it is `name` which waits.
    """

    async def session(progressed: Callable[[], None]) -> None:
        for cls in classes:
            await reach(cls, env)
        progressed()

    await retrying(name, session)
    return True


async def open_when_reachable(cls: type[A], env: Mapping[str, str]) -> A:
    """Do as `open_reached`, for its relay: a database that is lost is waited out, for ever."""
    opened: list[A] = []

    async def session(progressed: Callable[[], None]) -> None:
        opened.append(await open_reached(cls, env))
        progressed()

    await retrying(f"relay of {cls.name}", session)
    return opened[0]
