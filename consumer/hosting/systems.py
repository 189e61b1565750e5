"""The edges of what is hosted, by their names, for those who operate it from outside.

What is run with a runner is named by MODULE:NAME: a `System`, or a `Projected`, which says of a
projection what its runner is told. Each of their edges is a view: a follower, and a leader.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

from eventsourcing.application import Application
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.persistence import TrackingRecorder
from eventsourcing.projection import EventSourcedProjection, Projection
from eventsourcing.system import System
from eventsourcing.utils import EnvType

from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.hosting.edge import edge_name, store_of
from eventsourcing_kafka.consumer.hosting.mapper import mapper_of, mapper_of_leader
from eventsourcing_kafka.producer.runtime.applications import reach_blocking
from eventsourcing_kafka.producer.runtime.construct import construct, construct_view
from eventsourcing_kafka.producer.runtime.errors import OperatorError, SettingsError
from eventsourcing_kafka.producer.runtime.plugins import found_at
from eventsourcing_kafka.producer.runtime.secrets import with_password_files


class UnknownEdgeError(SettingsError):
    """No follower and leader of the system have this name."""


class InMemoryError(OperatorError):
    """What a follower has is in the memory of another process."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is in the memory of the process that runs it, and nobody else can look into "
            "that, or mend it. Are PERSISTENCE_MODULE and the POSTGRES_… or SQLITE_… settings "
            "those of that process?"
        )


class Projected(NamedTuple):
    """A projection of an application, as a runner of projections is told it."""

    application_class: type[Application[Any] | DCBApplication]
    projection_class: type[Projection[Any] | EventSourcedProjection[Any]]
    view_class: type[TrackingRecorder] | None = None
    """Of a projection into a materialised view."""


class Edge(NamedTuple):
    """A follower that follows a leader."""

    leader: type[Application[Any] | DCBApplication]
    follower: type[Application[Any] | Projection[Any]]
    open: Callable[[EnvType, ExitStack], Store]
    """Returns the follower's store. What is constructed for it is closed with the stack."""
    topic: str
    """MODULE:NAME of what it is an edge of."""


def projected_named(topic: str) -> Projected | None:
    """Return the projection that MODULE:NAME is; None if it is something else."""
    found = found_at(topic)
    return found if isinstance(found, Projected) else None


def system_named(topic: str) -> System:
    """Return the system that MODULE:NAME is. Raises `SettingsError` if that is something else."""
    found = found_at(topic)
    if not isinstance(found, System):
        raise SettingsError(f"{topic} is no system of the library, but a {type(found).__name__}.")
    return found


def edges_named(topic: str) -> Mapping[str, Edge]:
    """Return the edges of the system, or of the projection, that MODULE:NAME is."""
    found = found_at(topic)
    if isinstance(found, Projected):
        name = edge_name(found.projection_class.name, found.application_class.name)
        open_it = partial(_open_projected, topic, found)
        return {name: Edge(found.application_class, found.projection_class, open_it, topic)}
    system = system_named(topic)
    edges = [tuple(map(system.get_app_cls, edge)) for edge in system.edges]
    return {
        edge_name(follower.name, leader.name): Edge(
            leader, follower, partial(_open_follower, topic, follower, leader), topic
        )
        for leader, follower in edges
    }


def chosen_edges(topic: str, names: Collection[str]) -> Mapping[str, Edge]:
    """Return some edges, or all. Raises `UnknownEdgeError` with those there are."""
    edges = edges_named(topic)
    if unknown := set(names) - set(edges):
        raise UnknownEdgeError(
            f"{topic} has no {min(unknown)!r}. It has: {', '.join(sorted(edges))}."
        )
    return {name: edges[name] for name in names or edges}


@contextmanager
def opened(edges: Mapping[str, Edge], env: Mapping[str, str]) -> Iterator[list[Store]]:
    """Open the stores of edges, where they are not run.

    Raises `PostgresUnreachableError` at once, with the reason, where a database can't be reached:
    the library would wait for half a minute, and give no reason.
    """
    with ExitStack() as exits:
        settings = with_password_files(env)
        for edge in edges.values():
            reach_blocking(edge.follower, settings)
        yield [edge.open(settings, exits) for edge in edges.values()]


def _open_follower(
    topic: str,
    follower: type[Application[Any]],
    leader: type[Application[Any]],
    env: EnvType,
    exits: ExitStack,
) -> Store:
    app: Any = exits.enter_context(construct(follower, env))
    return store_of(follower.name, app, app.recorder, leader, mapper_of(leader, app, env), topic)


def _open_projected(topic: str, projected: Projected, env: EnvType, exits: ExitStack) -> Store:
    leader, projection_class, view_class = projected
    mapper = mapper_of_leader(leader, env)
    if issubclass(projection_class, EventSourcedProjection):
        app: Any = exits.enter_context(construct(projection_class, env))
        return store_of(projection_class.name, app, app.recorder, leader, mapper, topic)
    factory, view = construct_view(projection_class.name, env, view_class)
    exits.callback(factory.close)
    projection = projection_class(view=view)
    return store_of(projection_class.name, projection, view, leader, mapper, topic)
