"""Measures everything against its floor, or its peer, in one run: `python -m tests.benchmarks`."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from eventsourcing_kafka.__main__ import NEW_OBJECTS
from tests.benchmarks import (
    commands,
    cost,
    growth,
    hosting,
    latency,
    one_aggregate,
    peers,
    relay,
    search,
    sink,
    views,
    web,
)
from tests.benchmarks.figures import Line, save, table
from tests.benchmarks.plot import plot
from tests.benchmarks.report import markdown, put_into
from tests.benchmarks.servers import ROOT, World, seconds_since

BENCHMARKS: dict[str, Callable[[World], Iterator[Line]]] = {
    "relay": relay.throughput,
    "relay-start": relay.start,
    "relay-latency": relay.latency,
    "relay-partitions": relay.many_partitions,
    "update-body": commands.update_body,
    "import": commands.import_git,
    "fts": views.fts,
    "activity": views.activity,
    "sink": sink.sink,
    "rebuild": views.rebuild,
    "one-aggregate": one_aggregate.one_aggregate,
    "dog-school": hosting.dog_school,
    "projection": hosting.projection,
    "searchable": latency.searchable,
    "search": search.searching,
    "web": web.web,
    "window": web.window,
    "backlog": growth.backlog,
    "partitions": growth.partitions,
    "edits": growth.edits,
    "cost": cost.cost,
}

PEERS = "peers"
"""Where the figures of others are named that were not measured in the run."""

QUICK = 0.15
FULL_ONLY = (
    "relay-partitions",
    "one-aggregate",
    "window",
    "backlog",
    "partitions",
    "edits",
    "cost",
)
"""A quick run has none of these: at its size they show how parts start, not how they go on."""
WIDTH = 150
"""Where there is no terminal."""
RESULT = ROOT / "build" / "bench.json"


app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def main(
    quick: Annotated[bool, typer.Option(help="Of everything less: under two minutes.")] = False,
    repo: Annotated[
        Path | None, typer.Option(help="A git repository, instead of a history made up.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Some of: {', '.join(BENCHMARKS)}; repeatable.")
    ] = None,
    long: Annotated[
        bool, typer.Option(help="A backlog of ten million events, too: ten minutes, and 15 GB.")
    ] = False,
    page: Annotated[bool, typer.Option(help="Put the table into docs/FIGURES.md, too.")] = False,
) -> None:
    """Print a table; write build/bench.json, bench.md and, of what grows, bench.png."""
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])  # As the program does; floors, too.
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    chosen = only or [name for name in BENCHMARKS if not quick or name not in FULL_ONLY]
    if unknown := set(chosen) - set(BENCHMARKS):
        raise typer.BadParameter(f"There is no {unknown.pop()!r}: {', '.join(BENCHMARKS)}")
    # Of a topic that is being made it complains of what it asks for again.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    begin = time.perf_counter()
    scale = QUICK if quick else 1.0
    with World.started(scale=scale, repository=repo, long=long) as world:
        lines = measure(world, chosen, lambda text: console.print(text, style="dim"))
    console.print(table(lines))
    console.print(f"{seconds_since(begin):.0f} seconds in all", style="dim")
    save(lines, RESULT)
    RESULT.with_suffix(".md").write_text(markdown(lines))
    if any(line.point for line in lines):
        plot(lines, RESULT.with_suffix(".png"))
    if page:
        compared = [line for line in lines if line.figure.ratio is not None]
        put_into(ROOT / "docs" / "FIGURES.md", markdown(compared))


def measure(
    world: World, names: list[str], report: Callable[[str], None] = lambda _: None
) -> list[Line]:
    """Run some of the benchmarks, one after the other, and report how long each takes."""
    lines: list[Line] = []
    for name in names:
        # What the ones before have left is not to be looked through in the middle of this one.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        begin = time.perf_counter()
        lines += (line._replace(benchmark=name) for line in BENCHMARKS[name](world))
        report(f"{name}: {seconds_since(begin):.0f} s")
    return lines + [line._replace(benchmark=PEERS) for line in peers.beside(lines)]


if __name__ == "__main__":
    app()
