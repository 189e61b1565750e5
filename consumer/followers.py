"""What follows applications: views, and the edges of systems and of projections.

Which ones a command is about is told by names, by a system, or by a pipeline. Without any of these
it is about all views that are installed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.hosting.systems import (
    Edge,
    InMemoryError,
    chosen_edges,
    edges_named,
    opened,
)
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.registry import UnknownViewError, view_names, views_named
from eventsourcing_kafka.producer.runtime.pipeline import Follower, Pipeline, System


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


@contextmanager
def opened_followers(followers: Followers, env: Mapping[str, str]) -> Iterator[list[Store]]:
    """Open the stores of them. Raises `InMemoryError` for what only its process can see."""
    views: list[Store] = [ViewStore.of(view, env) for view in followers.views]
    with opened(followers.edges, env) as hosted:
        for store in hosted:
            if not store.capabilities.reachable:
                raise InMemoryError(store.view.name)
        yield [*views, *hosted]
