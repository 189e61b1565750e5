"""Which views a command is about: those of the folders of `views`, or those of a system."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import typer

from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.hosting.systems import InMemoryError, chosen_edges, opened
from eventsourcing_kafka.consumer.views.registry import view_named, views

SystemTopic = Annotated[
    str | None,
    typer.Option(
        "--system",
        metavar="MODULE:SYSTEM",
        help="The views of this system, each a follower and a leader: follower_leader.",
    ),
]


def complete_view(incomplete: str) -> list[str]:
    """Return the views whose names go on so, for the shell."""
    return [name for name in views() if name.startswith(incomplete)]


ViewName = Annotated[
    str, typer.Argument(metavar="VIEW", help="Which view.", autocompletion=complete_view)
]


@contextmanager
def opened_stores(
    names: Collection[str], system: str | None, env: Mapping[str, str] = os.environ
) -> Iterator[list[Store]]:
    """Find views by their names; all without.

    Raises `UnknownViewError` or `UnknownEdgeError` with those there are; and `InMemoryError` for
    what only the process that runs it can see.
    """
    if system:
        with opened(chosen_edges(system, names), env) as stores:
            for store in stores:
                if not store.capabilities.reachable:
                    raise InMemoryError(store.view.name)
            yield stores
    else:
        yield [ViewStore.of(view_named(name), env) for name in names or sorted(views())]


@contextmanager
def opened_store(name: str | None, system: str | None, default: str = "") -> Iterator[Store]:
    """Find one view by its name; without one, that of a system that has no other."""
    names = [name] if name else [] if system else [default]
    with opened_stores(names, system) as stores:
        if len(stores) > 1:
            there = ", ".join(store.view.name for store in stores)
            raise typer.BadParameter(f"say which: {there}", param_hint="--view")
        yield stores[0]
