"""The bar that shows on a terminal how far a command is."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


def progress_bar(console: Console, *, disable: bool = False) -> Progress:
    """Return a bar with what is done, how much of it, how fast, and the time that is left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=disable,
    )


class RateColumn(ProgressColumn):
    """How many a second; nothing before there are two reports."""

    def render(self, task: Task) -> Text:
        """Return the rate."""
        rate = task.finished_speed or task.speed
        return Text(f"{rate:,.0f}/s" if rate else "")
