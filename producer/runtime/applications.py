"""Opening an application of the library on the database that its settings name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, TypeVar

import psycopg
import typer
from anyio import to_thread
from eventsourcing.application import Application
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.persistence import InfrastructureFactory, InterfaceError, OperationalError
from eventsourcing.postgres import PostgresDatastore, PostgresFactory
from eventsourcing.utils import Environment

from eventsourcing_kafka.producer.runtime.compat import (
    name_in_errors,
    pool_arguments,
    renew_together,
)
from eventsourcing_kafka.producer.runtime.construct import construct
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.pipeline import Pipeline, nearest, pipeline_here
from eventsourcing_kafka.producer.runtime.plugins import found_at
from eventsourcing_kafka.producer.runtime.postgres import (
    check_named,
    connect_arguments,
    connected,
    explained,
    server_of,
)
from eventsourcing_kafka.producer.runtime.retry import retrying
from eventsourcing_kafka.producer.runtime.secrets import with_password_files
from eventsourcing_kafka.producer.runtime.servers import note_server
from eventsourcing_kafka.producer.runtime.sqlalchemy import POSTGRES

AnyApplication = Application[Any] | DCBApplication
"""An application of the library: of aggregates, or of tagged decisions, which has none."""

A = TypeVar("A", bound=AnyApplication)

TAGGED = "eventsourcing.dcb."
"""Its persistence modules for tagged decisions are in there."""

IN_POSTGRES = ("eventsourcing.postgres", f"{TAGGED}postgres_tt")
IN_MEMORY = ("eventsourcing.popo", f"{TAGGED}popo")


def complete_application(incomplete: str) -> list[str]:
    """Return the applications of the pipeline here whose names go on so, for the shell."""
    return [name for name in sorted(pipeline_here().applications) if name.startswith(incomplete)]


ApplicationTopic = Annotated[
    str | None,
    typer.Option(
        "--application",
        "-a",
        metavar="MODULE:CLASS",
        envvar="APPLICATION_TOPIC",
        autocompletion=complete_application,
        help="The application: its name, its settings, and a mapper of its own come from the "
        "class. Of a pipeline its name does.",
        show_default="the only one of the pipeline",
    ),
]

ApplicationName = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Or its name alone, where none of its code is: how it stores comes from the settings.",
    ),
]


def chosen(
    application: str | None,
    name: str | None,
    env: Mapping[str, str],
    pipeline: Pipeline | None = None,
) -> type[AnyApplication]:
    """Return the application that a command is told: by its name, or else by its class.

    One of a pipeline is told by what it is called there; the only one need not be told. Of what
    kind one is that is told by its name the settings tell.

    Raises `BadParameter` if it is told neither, `SettingsError` if that is no application.
    """
    if pipeline and not name and ":" not in (application or ""):
        application, name = _of_pipeline(application, pipeline)
    if name:
        stores = Environment(name, dict(env)).get("PERSISTENCE_MODULE") or ""
        return tagged_by_name(name) if stores.startswith(TAGGED) else known_by_name(name)
    if application:
        return application_named(application)
    raise typer.BadParameter(
        "Which application? Name its class, -a module:Class, or where its code is not installed "
        "its name, --name Name"
    )


def _of_pipeline(called: str | None, pipeline: Pipeline) -> tuple[str | None, str | None]:
    """Return the class of an application of a pipeline, or else its name."""
    there = pipeline.applications
    if called is None and len(there) == 1:
        called = next(iter(there))
    if called is None and there:
        raise typer.BadParameter(f"Which application? Name one, -a {' or -a '.join(there)}")
    if called is None:
        return None, None
    if called not in there:
        raise typer.BadParameter(
            f"{pipeline.file} has no application {called!r}{nearest(called, there)}"
        )
    return (there[called].at, None) if there[called].at else (None, called)


def known_by_name(name: str) -> type[Application[Any]]:
    """Return an application of which no more is known than its name, and so how it stores."""
    return type(name, (Application,), {"name": name, "env": {"CREATE_TABLE": "no"}})


def is_known_by_name(cls: type[AnyApplication]) -> bool:
    """Tell whether no more is known of an application than its name: its class is made here."""
    return cls.__module__ == __name__


def tagged_by_name(name: str) -> type[DCBApplication]:
    """Return one with tagged decisions of which no more is known."""
    return type(name, (DCBApplication,), {"name": name, "env": {"CREATE_TABLE": "no"}})


def application_named(topic: str) -> type[AnyApplication]:
    """Return the application class that `module:Class` is.

    Raises `SettingsError` if it is something else, or the library's `TopicError`.
    """
    found = found_at(topic) if ":" in topic else None
    if isinstance(found, type) and issubclass(found, (Application, DCBApplication)):
        return found
    raise SettingsError(f"{topic} is no application of the library: name one as module:Class.")


def open_application(cls: type[A], env: Mapping[str, str]) -> A:
    """Construct an application on the database that its settings name.

    Raises `SettingsError` when they name none: its events would be lost at exit.
    """
    # A connection that the server has ended is found before somebody gets it.
    settings = {"POSTGRES_PRE_PING": "yes", **with_password_files(env)}
    module = Environment(cls.name, settings).get("PERSISTENCE_MODULE") or IN_MEMORY[0]
    if module in IN_MEMORY:
        raise SettingsError(
            "PERSISTENCE_MODULE is not set, so the events would be in memory only and lost at "
            "exit. Set it, and the POSTGRES_… or SQLITE_… settings, to the write model's database. "
            "A stack on this machine prints its own: eventsourcing-kafka compose env"
        )
    if issubclass(cls, DCBApplication):
        settings = _with_place_for_decisions(cls, settings, module)
    try:
        app = construct(cls, settings)
    except (InterfaceError, OperationalError) as error:
        if arguments := _arguments(cls, env):
            note_server(error, server_of(arguments))
        raise
    if isinstance(datastore := getattr(app.recorder, "datastore", None), PostgresDatastore):
        renew_together(datastore)
        name_in_errors(datastore, server_of(pool_arguments(datastore)))
    return app


def _with_place_for_decisions(
    cls: type[DCBApplication], settings: Mapping[str, str], module: str
) -> dict[str, str]:
    """Return settings by which tagged decisions are stored, where views are stored in `module`.

    Postgres has a place for both. Raises `SettingsError` for a module of the library's that has
    none for decisions.
    """
    place = f"{cls.name.upper()}_PERSISTENCE_MODULE"
    if module == IN_POSTGRES[0]:
        return {**settings, place: IN_POSTGRES[1]}
    if module.startswith("eventsourcing.") and not module.startswith(TAGGED):
        raise SettingsError(
            f"{cls.name} has tagged decisions, and {module} has no place for them. Set "
            f"{place}={IN_POSTGRES[1]}, with its name before it: views are stored otherwise."
        )
    return dict(settings)


URL = "SQLALCHEMY_URL"


async def reach(cls: type[Any], env: Mapping[str, str]) -> None:
    """Connect once to the database that the settings of an application, or a projection, name.

    Where that fails `open_application` would wait for minutes, give no reason, and not hear Ctrl-C.
    Raises `PostgresUnreachableError`, with the reason, and `PoolerError`.
    """
    if arguments := _arguments(cls, env):
        async with connected(**arguments):
            pass


def reach_blocking(cls: type[Any], env: Mapping[str, str]) -> None:
    """Do as `reach`, where there is no event loop."""
    if arguments := _arguments(cls, env):
        with explained(server_of(arguments)):
            psycopg.connect(**arguments).close()


def _arguments(cls: type[Any], env: Mapping[str, str]) -> dict[str, Any] | None:
    """Return how to connect to the database of an application or a projection, if it has one."""
    settings = Environment(cls.name, {**getattr(cls, "env", {}), **with_password_files(env)})
    match settings.get("PERSISTENCE_MODULE"):
        case module if module in IN_POSTGRES:
            check_named(settings)
            return connect_arguments(PostgresFactory(settings).datastore)
        case "eventsourcing_sqlalchemy" if (settings.get(URL) or "").startswith(POSTGRES):
            factory: Any = InfrastructureFactory[Any].construct(settings)
            return connect_arguments(factory.datastore)
        case _:
            return None


async def open_reached(cls: type[A], env: Mapping[str, str]) -> A:
    """Do as `open_application`, in a thread, once the database can be connected to.

    A thread that waits for a database can't be cancelled, and keeps the program from ending.
    """
    await reach(cls, env)
    return await to_thread.run_sync(open_application, cls, env, abandon_on_cancel=True)


async def open_to_read(cls: type[A], env: Mapping[str, str]) -> A:
    """Do as `open_reached`, and make no tables: whoever only reads waits for none.

    Nor need it have the right to.
    """
    return await open_reached(cls, {**env, f"{cls.name.upper()}_CREATE_TABLE": "no"})


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
