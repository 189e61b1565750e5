"""What a stack runs, by name; the servers themselves come with the extra `compose`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from eventsourcing.utils import Environment

from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.stack.sample import SAMPLE
from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.hosting.systems import system_named
from eventsourcing_kafka.producer.runtime.pipeline import Application, Pipeline

SERVERS = ("kafka", "postgres")
CASSANDRA = "cassandra"
"""One more server, which is started only where it is named."""

WEB = "web"
"""The pages of the sample, and the window on its pipeline."""
WINDOW = "window"
"""The window on any other pipeline."""

IN_A_BROWSER = (WEB, WINDOW)

Services = Mapping[str, tuple[str, ...]]
"""What runs on the servers: the command, and its arguments, of each process."""


def services_of(pipeline: Pipeline) -> Services:
    """Return the processes of a pipeline, by their names. Its systems are imported."""
    web = WEB if pipeline is SAMPLE else WINDOW
    return {**loops_of(pipeline), web: ("compose", web)}


def loops_of(pipeline: Pipeline) -> Services:
    """Return what publishes, and what follows: a relay of each application, if no system has one.

    Where there is one application it is just called `relay`.
    """
    led = {name for part in pipeline.systems.values() for name in system_named(part.at).leads}
    relays = {name: part for name, part in pipeline.applications.items() if name not in led}
    loops = {
        "relay" if len(relays) == 1 else f"relay {name}": _relay(name, part)
        for name, part in relays.items()
    }
    for name, view in pipeline.views.items():
        loops[f"consumer {name}"] = ("consumer", "run", view.at or name, *_told(view.on_error))
    for name, follower in pipeline.followers.items():
        loops[f"follower {name}"] = ("compose", "run", follower.at, *_told(follower.on_error))
    for name, system in pipeline.systems.items():
        loops[f"system {name}"] = ("compose", "run", system.at, *_told(system.on_error))
    return loops


def _relay(name: str, part: Application) -> tuple[str, ...]:
    which = ("-a", part.at) if part.at else ("--name", name)
    return ("producer", "relay", *which, *(["--decrypt"] if part.decrypt else []))


def _told(on_error: str) -> tuple[str, ...]:
    return () if on_error == OnError.PARK else ("--on-error", on_error)


def named(pipeline: Pipeline) -> list[str]:
    """Return the names that are prefixes of settings, each with a database of its own."""
    hosted = [name for part in pipeline.systems.values() for name in system_named(part.at).nodes]
    names = [*pipeline.applications, *pipeline.views, *pipeline.followers, *hosted]
    return list({name.upper(): name for name in names}.values())


def databases_of(pipeline: Pipeline) -> Mapping[str, str]:
    """Return a database for each name of a pipeline, by the prefix of its settings."""
    settings = pipeline.environment({})
    return {
        name.upper(): Environment(name, settings).get("POSTGRES_DBNAME") or name.lower()
        for name in named(pipeline)
    }


def parts(pipeline: Pipeline = SAMPLE) -> list[str]:
    """Return the names of what a stack runs, if nothing else is said."""
    return [*SERVERS, *services_of(pipeline)]


def checked_parts(chosen: Collection[str], pipeline: Pipeline = SAMPLE) -> Collection[str]:
    """Return the chosen parts; raises StackError when one is unknown or lacks its servers."""
    there = [*parts(pipeline), CASSANDRA]
    for name in chosen:
        if name not in there:
            raise StackError(f"there is no part {name!r}: there are {', '.join(there)}")
    if not set(SERVERS) <= set(chosen):
        for name in set(chosen) - {*SERVERS, CASSANDRA}:
            raise StackError(f"{name!r} needs {' and '.join(SERVERS)}: name these as well")
    return chosen
