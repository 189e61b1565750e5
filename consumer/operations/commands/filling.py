"""How commands show how far a generation is filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from eventsourcing_kafka.consumer.operations.filling import RebuildProgress
from eventsourcing_kafka.producer.runtime.cli import progress_console
from eventsourcing_kafka.producer.runtime.progress_bar import progress_bar

Report = Callable[[RebuildProgress], None]


@contextmanager
def shown_filling(name: str) -> Iterator[tuple[Report, Callable[[], None]]]:
    """Show a bar meanwhile; yield what moves it, and what takes it away before something is asked.

    Whoever interrupts it is told that nothing is lost by that.
    """
    with progress_bar(progress_console()) as bar:
        task = bar.add_task(f"rebuilding {name}", total=None)

        def report(progress: RebuildProgress) -> None:
            total = progress.records + progress.gap
            bar.update(task, completed=progress.records, total=total)

        try:
            yield report, bar.stop
        except typer.Exit:
            typer.echo("interrupted: the next rebuild goes on from here", err=True)
            raise
