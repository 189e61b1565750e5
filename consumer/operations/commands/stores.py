"""Which views a command is about: those that it names, or those of a system."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.hosting.systems import InMemoryError, chosen_edges, opened
from eventsourcing_kafka.consumer.views.registry import view_names, views_named

SystemTopic = Annotated[
    str | None,
    typer.Option(
        "--system",
        metavar="MODULE:SYSTEM",
        help="The views of this system, each a follower and a leader: follower_leader.",
    ),
]


def complete_view(incomplete: str) -> list[str]:
    """Return the installed views whose names go on so, for the shell."""
    return [name for name in view_names() if name.startswith(incomplete)]


WHICH = "By its name, or as module:VIEW."

ViewName = Annotated[
    str,
    typer.Argument(metavar="VIEW", help=f"Which view. {WHICH}", autocompletion=complete_view),
]

ViewNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[VIEW]…",
        help=f"Which views; all that are installed without. {WHICH}",
        autocompletion=complete_view,
    ),
]


@contextmanager
def opened_stores(
    names: Collection[str], system: str | None, env: Mapping[str, str] = os.environ
) -> Iterator[list[Store]]:
    """Find views by their names; all that are installed without.

    Raises `UnknownViewError` or `UnknownEdgeError` with those there are, `NoViewError` for what is
    none; and `InMemoryError` for what only the process that runs it can see.
    """
    if system:
        with opened(chosen_edges(system, names), env) as stores:
            for store in stores:
                if not store.capabilities.reachable:
                    raise InMemoryError(store.view.name)
            yield stores
    else:
        yield [ViewStore.of(view, env) for view in views_named(names)]


@contextmanager
def opened_store(name: str | None, system: str | None) -> Iterator[Store]:
    """Find one view by its name; without one, the only one that is installed, or that a system has.

    Raises typer's `BadParameter` with those there are.
    """
    if not (name or system):
        _only(view_names())
    with opened_stores([name] if name else [], system) as stores:
        _only([store.view.name for store in stores])
        yield stores[0]


def _only(names: Sequence[str]) -> None:
    if len(names) != 1:
        there = ", ".join(names) or "module:VIEW"
        raise typer.BadParameter(f"say which: {there}", param_hint="--view")
