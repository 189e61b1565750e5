"""Which views a command is about: those that it names, or those of a system, or a pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.followers import followers_of, opened_followers
from eventsourcing_kafka.consumer.views.registry import view_names
from eventsourcing_kafka.producer.runtime.pipeline import (
    found_pipeline,
    pipeline_here,
    settings_with,
)

SystemTopic = Annotated[
    str | None,
    typer.Option(
        "--system",
        metavar="MODULE:SYSTEM",
        help="The views of this system, each a follower and a leader: follower_leader.",
    ),
]


def complete_view(incomplete: str) -> list[str]:
    """Return the views of the pipeline here, and of those installed, whose names go on so.

    For the shell: nothing is imported, and a file that is no pipeline is passed over.
    """
    names = [*sorted(pipeline_here().views), *view_names()]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


WHICH = "By its name, or as module:VIEW."

ViewName = Annotated[
    str,
    typer.Argument(metavar="VIEW", help=f"Which view. {WHICH}", autocompletion=complete_view),
]

ViewNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[VIEW]…",
        help=f"Which views; without, all of the pipeline, or that are installed. {WHICH}",
        autocompletion=complete_view,
    ),
]


@contextmanager
def opened_store(name: str | None, system: str | None, file: Path | None = None) -> Iterator[Store]:
    """Find one view by its name; without one, the only one of a system, or pipeline, or installed.

    Raises typer's `BadParameter` with those there are.
    """
    pipeline = found_pipeline(file)
    if not (name or system or pipeline):
        _only(view_names())
    followers = followers_of([name] if name else [], system, pipeline)
    _only([*(view.name for view in followers.views), *followers.edges])
    with opened_followers(followers, settings_with(file)) as stores:
        yield stores[0]


def _only(names: Sequence[str]) -> None:
    if len(names) != 1:
        there = ", ".join(names) or "module:VIEW"
        raise typer.BadParameter(f"say which: {there}", param_hint="--view")
