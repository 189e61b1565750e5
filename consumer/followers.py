"""What follows applications: views, and the edges of systems and of projections.

Which ones a command is about is told by names, by a system, or by a pipeline. Without any of these
it is about all views that are installed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from anyio import to_thread

from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.hosting.systems import (
    Edge,
    InMemoryError,
    chosen_edges,
    edges_named,
)
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.registry import UnknownViewError, view_names, views_named
from eventsourcing_kafka.producer.runtime.applications import reach, reach_blocking
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.pipeline import Follower, Pipeline, System
from eventsourcing_kafka.producer.runtime.retry import describe, is_transient
from eventsourcing_kafka.producer.runtime.secrets import with_password_files


class Followers(NamedTuple):
    """Some of them."""

    views: Sequence[View]
    edges: Mapping[str, Edge]
    """By their names."""


def followers_of(
    names: Collection[str] = (), system: str | None = None, pipeline: Pipeline | None = None
) -> Followers:
    """Return those of some names; without names all of a system, or of a pipeline, if there is one.

    Raises `UnknownViewError` or `UnknownEdgeError` with those there are, or `NoViewError`.
    """
    if system:
        return Followers((), chosen_edges(system, names))
    if pipeline is None:
        return Followers(views_named(names), {})
    edges = edges_of(pipeline)
    wanted = list(names) or [*pipeline.views, *edges]
    topics = [_topic(pipeline, edges, name) for name in wanted if name not in edges]
    return Followers(
        views_named(topics) if topics else (),
        {name: edges[name] for name in wanted if name in edges},
    )


def edges_of(pipeline: Pipeline) -> Mapping[str, Edge]:
    """Return the edges of a pipeline's systems and followers."""
    hosted: list[Follower | System] = [*pipeline.followers.values(), *pipeline.systems.values()]
    return {name: edge for part in hosted for name, edge in edges_named(part.at).items()}


def _topic(pipeline: Pipeline, edges: Mapping[str, Edge], name: str) -> str:
    if part := pipeline.views.get(name):
        return part.at or name
    if ":" in name or name in view_names():
        return name
    there = ", ".join([*pipeline.views, *edges]) or "none"
    raise UnknownViewError(
        f"There is no view {name!r}. The pipeline of {pipeline.file} has: {there}. "
        "One that is not in it is named by where it is: module:VIEW"
    )


class BrokenFollowerError(OperatorError):
    """The code of a follower fails while it is constructed."""

    def __init__(self, name: str, edge: Edge, error: Exception) -> None:
        super().__init__(f"{name} ({edge.topic}) can't be constructed: {describe(error)}")


class OpenFollowers:
    """The stores of followers, by their names, and why that of some could not be opened."""

    def __init__(self, followers: Followers, env: Mapping[str, str], exits: ExitStack) -> None:
        self.stores: dict[str, Store] = {
            view.name: ViewStore.of(view, env) for view in followers.views
        }
        self.broken: dict[str, Exception] = {}
        self._edges = followers.edges
        self.settings = with_password_files(env)
        self._exits = exits
        for name in followers.edges:
            try:
                self._open(name)
            except Exception as error:  # noqa: BLE001 - somebody else's code may raise anything
                self.broken[name] = error

    async def opened_again(self, name: str) -> Store:
        """Return a store that could not be opened, if what it was lost by has passed."""
        if name not in self.stores:
            if not is_transient(self.broken[name]):
                raise self.broken[name]
            await reach(self._edges[name].follower, self.settings)
            await to_thread.run_sync(self._open, name)
        return self.stores[name]

    def _open(self, name: str) -> None:
        """Raise `InMemoryError` for what only its process can see, and `BrokenFollowerError`.

        Raises `PostgresUnreachableError` at once, with the reason, where a database can't be
        reached: the library would wait for half a minute, and give no reason.
        """
        edge = self._edges[name]
        reach_blocking(edge.follower, self.settings)
        with ExitStack() as exits:
            try:
                store = edge.open(self.settings, exits)
            except Exception as error:
                if isinstance(error, OperatorError) or is_transient(error):
                    raise
                raise BrokenFollowerError(name, edge, error) from error
            if not store.capabilities.reachable:
                raise InMemoryError(store.view.name)
            self._exits.push(exits.pop_all())
        self.stores[name] = store


@contextmanager
def opened_each(followers: Followers, env: Mapping[str, str]) -> Iterator[OpenFollowers]:
    """Open the stores of those that can be opened."""
    with ExitStack() as exits:
        yield OpenFollowers(followers, env, exits)


@contextmanager
def opened_followers(followers: Followers, env: Mapping[str, str]) -> Iterator[list[Store]]:
    """Open the stores of all of them. Raises why the first can't be opened, if one can't."""
    with opened_each(followers, env) as found:
        for error in found.broken.values():
            raise error
        yield list(found.stores.values())
