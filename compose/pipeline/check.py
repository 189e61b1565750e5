"""Says all that is wrong with a pipeline, before anything starts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from eventsourcing.utils import Environment

from eventsourcing_kafka.compose.leaders import application_of
from eventsourcing_kafka.compose.pipeline.values import CHECKS, OF_KAFKA, wrong_value
from eventsourcing_kafka.consumer.hosting.systems import (
    Edge,
    edges_named,
    projected_named,
    system_named,
)
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.registry import view_named
from eventsourcing_kafka.producer.runtime.applications import AnyApplication
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.pipeline import (
    FILE_NAME,
    Pipeline,
    PipelineError,
    Problem,
    Settings,
    by_line,
    near_miss,
)

T = TypeVar("T")

POSTGRES = ("POSTGRES_HOST", "POSTGRES_DBNAME", "POSTGRES_USER")
PASSWORD = ("POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE", "POSTGRES_GET_PASSWORD_TOPIC")
SQLITE = ("SQLITE_DBNAME",)
SQLALCHEMY = ("SQLALCHEMY_URL",)
CASSANDRA = ("CASSANDRA_HOSTS", "CASSANDRA_KEYSPACE")

KNOWN = (
    *("PERSISTENCE_MODULE", "POSTGRES_PORT", "POSTGRES_SCHEMA", *POSTGRES, *PASSWORD, *SQLITE),
    *(*SQLALCHEMY, *CASSANDRA, "CASSANDRA_PORT", "CASSANDRA_USER", "CASSANDRA_PASSWORD"),
    *("TRANSCODER_TOPIC", "MAPPER_TOPIC", "CIPHER_TOPIC", "CIPHER_KEY", "COMPRESSOR_TOPIC"),
    *("APPLICATION_RECORDER_TOPIC", "PROCESS_RECORDER_TOPIC", "CREATE_TABLE"),
    *("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC_PREFIX", "KAFKA_GROUP_PREFIX"),
    *("KAFKA_TOPIC_PARTITIONS", "KAFKA_TOPIC_REPLICATION_FACTOR", "KAFKA_COMPRESSION_TYPE"),
    *("KAFKA_TOPIC_RETENTION_MS", "KAFKA_TOPIC_RETENTION_BYTES"),
    *("KAFKA_SESSION_TIMEOUT_MS", "KAFKA_REQUEST_TIMEOUT_MS", "KAFKA_SECURITY_PROTOCOL"),
)
"""Settings that everybody has. There may be others, but none that is nearly called so."""

NO_PROJECTED = (
    "is no Projected, as followers in a pipeline are: what one is, is in docs/FOLLOWERS.md"
)


LEADING = ("applications", "systems")
"""The sections of what is followed."""


def check(pipeline: Pipeline) -> None:
    """Import all that a pipeline names. Raises `PipelineError` with all that is wrong with it."""
    if problems := Check(pipeline).problems():
        raise PipelineError(pipeline.file or Path(FILE_NAME), problems)


class Check:
    """Imports what a pipeline names, and compares it with what the pipeline says."""

    def __init__(self, pipeline: Pipeline, problems: Sequence[Problem] = ()) -> None:
        """Take what could be read of a file, and the problems with the rest."""
        self._pipeline = pipeline
        self._problems = [*problems]
        self._hides_applications = any(map(_hides_applications, problems))

    def problems(self) -> list[str]:
        """Return what is wrong, in the order of the file's lines."""
        applications = self._applications()
        views = self._views()
        edges = {**self._followers(), **self._systems()}
        self._names(applications, views, edges)
        if not self._hides_applications:
            self._applications_that_are_followed(views, edges)
        self._settings(views)
        return by_line(self._pipeline.file or Path(FILE_NAME), self._problems)

    def runnable(self) -> Pipeline:
        """Return the pipeline without those systems that can't be imported."""
        broken = [
            problem.path[1]
            for problem in self._problems
            if problem.path[:1] == ("systems",) and problem.path[2:3] == ()
        ]
        systems = {
            name: part for name, part in self._pipeline.systems.items() if name not in broken
        }
        return msgspec.structs.replace(self._pipeline, systems=systems)

    def missing_settings(self, env: Mapping[str, str], names: Collection[str]) -> list[str]:
        """Return what those of some names that run on servers of their own are not told."""
        settings = self._pipeline.environment(env)
        missing = [] if "KAFKA_BOOTSTRAP_SERVERS" in settings else ["KAFKA_BOOTSTRAP_SERVERS"]
        lacking = defaultdict(list)
        for name in names:
            own = Environment(name, settings)
            for variable in _postgres(own) if name in self._pipeline.views else _missing(own):
                lacking[variable].append(f"{name.upper()}_{variable}")
        for variable, own_names in lacking.items():
            missing += [variable] if len(own_names) > 1 else own_names
        return missing

    def _applications(self) -> dict[str, type[AnyApplication]]:
        return {
            name: found
            for name in self._pipeline.applications
            if (found := self._imported("applications", name, self._application, name))
        }

    def _application(self, name: str) -> type[AnyApplication]:
        return application_of(self._pipeline, name)

    def _views(self) -> dict[str, View]:
        found = {}
        for name, part in self._pipeline.views.items():
            if view := self._imported("views", name, view_named, part.at or name):
                found[name] = view
                self._is_called("views", name, view.name, view.arguments)
        return found

    def _followers(self) -> dict[str, Edge]:
        edges: dict[str, Edge] = {}
        for name, part in self._pipeline.followers.items():
            found = self._imported("followers", name, projected_named, part.at, or_none=True)
            if found is not None:
                self._is_called("followers", name, found.projection_class.name, part.at)
                edges |= edges_named(part.at)
        return edges

    def _systems(self) -> dict[str, Edge]:
        edges: dict[str, Edge] = {}
        for name, part in self._pipeline.systems.items():
            if self._imported("systems", name, system_named, part.at):
                edges |= edges_named(part.at)
            else:
                self._hides_applications = True
        return edges

    def _imported(
        self,
        section: str,
        name: str,
        find: Callable[[str], T],
        topic: str,
        *,
        or_none: bool = False,
    ) -> T | None:
        """Return what is found; if that fails, or nothing is found, note it."""
        try:
            found = find(topic)
        except SettingsError as error:
            self._note((section, name), str(error))
        except Exception as error:  # noqa: BLE001 - somebody else's module may raise anything
            self._note((section, name), f"{topic} can't be imported: {_told(error)}")
        else:
            if found is None and or_none:
                self._note((section, name), f"{topic} {NO_PROJECTED}")
            return found
        return None

    def _is_called(self, section: str, name: str, called: str, topic: str) -> None:
        if name != called:
            self._note((section, name), f"{topic} is called {called!r}: call it that here, too")

    def _names(
        self,
        applications: Mapping[str, type[AnyApplication]],
        views: Mapping[str, View],
        edges: Mapping[str, Edge],
    ) -> None:
        """Note what would share settings, schemas or groups with something else of its name."""
        known: dict[str, object] = {}
        hosted = {edge.follower.name: edge.follower for edge in edges.values()}
        for section, named in (
            ("applications", applications),
            ("views", views),
            ("followers", hosted),
            ("views", {name: edge for name, edge in edges.items() if name in views}),
        ):
            for name, found in named.items():
                if known.setdefault(name.upper(), found) is not found:
                    self._note(
                        (section, name),
                        f"{name} is in the pipeline twice, and both would have the settings "
                        f"{name.upper()}_…: rename one of them",
                    )

    def _applications_that_are_followed(
        self, views: Mapping[str, View], edges: Mapping[str, Edge]
    ) -> None:
        """Note followers whose application nobody here publishes."""
        systems = [part.at for part in self._pipeline.systems.values()]
        led = {edge.leader.name for edge in edges.values() if edge.topic in systems}
        published = {*self._pipeline.applications, *led}
        for name, view in views.items():
            if view.application_name not in published:
                self._has_no_application(("views", name), name, view.application_name)
        for edge in edges.values():
            if edge.leader.name not in published:
                follower = edge.follower.name
                self._has_no_application(("followers", follower), follower, edge.leader.name)

    def _has_no_application(self, where: tuple[str, str], name: str, application: str) -> None:
        self._note(
            where,
            f"{name} follows {application}, which the pipeline does not have: add it to "
            "[applications]",
        )

    def _settings(self, views: Mapping[str, View]) -> None:
        pipeline = self._pipeline
        self._known_settings(("settings",), pipeline.settings, ())
        for section in ("applications", "views", "followers", "systems"):
            for name, part in getattr(pipeline, section).items():
                view = views.get(name) if section == "views" else None
                own = [key.upper() for key in view.settings] if view else []
                path = (section, name, "settings")
                self._known_settings(path, part.settings, own)
                if section != "systems":
                    self._prefixed_already(path, part.settings)

    def _known_settings(
        self, path: tuple[str, ...], settings: Settings, own: Collection[str]
    ) -> None:
        for name in settings:
            is_prefixed = any(name.endswith(f"_{known}") for known in KNOWN)
            if not is_prefixed and (meant := near_miss(name, [*KNOWN, *own])):
                self._note((*path, name), f"there is no setting {name}: did you mean {meant}?")
            elif wrong := wrong_value(name, settings[name]):
                self._note((*path, name), wrong)

    def _prefixed_already(self, path: tuple[str, ...], settings: Settings) -> None:
        """Note settings of a part that nobody reads, as its name comes before them as well."""
        pipeline, prefix = self._pipeline, path[1].upper()
        names = [*pipeline.applications, *pipeline.views, *pipeline.followers]
        known = {*KNOWN, *CHECKS}
        doubled = {f"{name.upper()}_{each}": each for name in names for each in known}
        for name in settings:
            if name in OF_KAFKA:
                self._note((*path, name), f"{name} is the same for all: put it into [settings]")
            elif its := doubled.get(name):
                is_own = name == f"{prefix}_{its}"
                right = f"say {its} here" if is_own else "put it into [settings]"
                self._note((*path, name), f"{name} would be read as {prefix}_{name}: {right}")

    def _note(self, path: tuple[str, ...], what: str) -> None:
        self._problems.append(Problem(self._pipeline.line(*path), what, path))


def _hides_applications(problem: Problem) -> bool:
    """Tell whether it may be why an application that is followed seems not to be there."""
    section, *rest = [*problem.path, ""]
    return "settings" not in problem.path and (not any(rest) or section in LEADING)


def _missing(settings: Environment) -> list[str]:
    match settings.get("PERSISTENCE_MODULE"):
        case None:
            return ["PERSISTENCE_MODULE"]
        case "eventsourcing.postgres":
            return _postgres(settings)
        case "eventsourcing.sqlite":
            return [variable for variable in SQLITE if not settings.get(variable)]
        case "eventsourcing_sqlalchemy":
            return [variable for variable in SQLALCHEMY if not settings.get(variable)]
        case "eventsourcing_kafka.producer.cassandra":
            return [variable for variable in CASSANDRA if not settings.get(variable)]
        case _:
            return []


def _postgres(settings: Environment) -> list[str]:
    missing = [variable for variable in POSTGRES if not settings.get(variable)]
    has_password = any(settings.get(variable) for variable in PASSWORD)
    return missing + ([] if has_password else [PASSWORD[0]])


def _told(error: Exception) -> str:
    said = " ".join(str(error).split())
    return said if type(error).__module__.startswith("eventsourcing.") else f"{error!r}"
