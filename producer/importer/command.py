"""The command line of the import."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from eventsourcing.persistence import PersistenceError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.runtime.applications import open_reached
from eventsourcing_kafka.producer.runtime.cli import INTERRUPTED, finished, progress_console
from eventsourcing_kafka.producer.runtime.logs import complain, message_of
from eventsourcing_kafka.producer.runtime.printable import printable
from eventsourcing_kafka.producer.runtime.progress_bar import progress_bar

# What reads git is imported where it is used: the relay starts without it.
if TYPE_CHECKING:
    from eventsourcing_kafka.producer.importer.git_import import Report

COMMANDS = typer.Typer()

SECONDS_BETWEEN_LINES = 5.0
EXAMPLES_SHOWN = 5
"""How many paths or commits the summary shows for a reason; the JSON has them all."""


@COMMANDS.command()
def import_git(
    path: Annotated[Path, typer.Argument(help="A git repository on this machine.")],
    include: Annotated[
        list[str] | None,
        typer.Option(help="Import only files that match this glob, such as '*.md'; repeatable."),
    ] = None,
    ref: Annotated[str, typer.Option(help="The branch, tag or commit to import up to.")] = "HEAD",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Import at most this many commits; repeat for more.")
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="A folder for the pages; each further repository needs its own.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Import the edit history of a git repository's text files as a wiki's history.

    Each file becomes a page, each commit that changes it an update by its author. Stop it
    and repeat it as you like: it goes on where it stopped, and takes what is new.

    Example: eventsourcing-kafka producer import-git . --include '*.md'
    """
    from eventsourcing_kafka.producer.importer.git_import import (
        GitImporter,
        ImportConflictError,
        ImportRefusedError,
    )
    from eventsourcing_kafka.producer.importer.history import History, HistoryError

    started = time.monotonic()
    try:
        history = History(path, ref)
        with finished(lambda: open_reached(ContentManagement, os.environ)) as app:
            importer = GitImporter(app, history, include or [], prefix=prefix)
            with _progress(len(importer.remaining[:limit])) as advance:
                report = importer.run(limit, advance)
    except (HistoryError, ImportRefusedError, ImportConflictError, PersistenceError) as error:
        complain(message_of(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    left = len(importer.remaining) - report.commits
    show = _show_json if as_json else _show_table
    show(report, history.tip, left, time.monotonic() - started)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show the commits as they are imported: a bar on a terminal, else a line at times."""
    console = progress_console()
    if console.is_terminal:
        with progress_bar(console) as bar:
            task = bar.add_task("importing commits", total=total)
            yield lambda: bar.advance(task)
    else:
        yield _lines(total, console)


def _lines(total: int, console: Console) -> Callable[[], None]:
    started = shown = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, shown
        done += 1
        now = time.monotonic()
        if done == total or now - shown >= SECONDS_BETWEEN_LINES:
            shown = now
            rate = done / max(now - started, 0.001)
            console.print(f"imported {done:,} of {total:,} commits, {rate:,.0f}/s")

    return advance


def _show_json(report: Report, tip: str, left: int, seconds: float) -> None:
    summary = {
        "tip": tip,
        "commits": report.commits,
        "commits_left": left,
        "events": report.events,
        "skipped": _by_reason(report.skipped),
        "malformed": _by_reason(report.malformed),
        "seconds": round(seconds, 3),
    }
    typer.echo(json.dumps(summary))


def _show_table(report: Report, tip: str, left: int, seconds: float) -> None:
    typer.echo(
        f"imported {report.commits:,} commits as {report.events:,} events in {seconds:.1f} s, "
        + (f"{left:,} commits left" if left else f"up to {tip[:12]}")
    )
    if report.skipped:
        table = Table("left out because", "files", "such as", title="Versions not imported")
        Console().print(_filled(table, report.skipped))
    if report.malformed:
        table = Table("what is missing", "commits", "such as", title="Malformed commits")
        Console().print(_filled(table, report.malformed))


def _filled(table: Table, reasons: Mapping[str, str]) -> Table:
    for reason, names in _by_reason(reasons).items():
        examples = [printable(name) for name in names[:EXAMPLES_SHOWN]]
        more = ["…"] if len(names) > EXAMPLES_SHOWN else []
        table.add_row(Text(reason), f"{len(names):,}", Text("\n".join(examples + more)))
    return table


def _by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for name, reason in sorted(reasons.items()):
        by_reason[reason].append(name)
    return dict(by_reason)
