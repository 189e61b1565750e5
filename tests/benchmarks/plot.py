"""How cost grows, as a picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import FuncFormatter, NullLocator

from tests.benchmarks.figures import Line


class Panel(NamedTuple):
    """One of the small plots."""

    over: str
    what: str
    proportional: bool = False
    """It may well grow as what it is drawn over: then that is a straight line."""


PANELS = {
    "backlog": Panel("events in the backlog", "events/s"),
    "memory": Panel("events in the backlog", "memory, MB"),
    "consumers": Panel("consumers", "events/s"),
    "partitions": Panel("partitions", "events/s"),
    "body": Panel("characters of the body", "one edit, ms", proportional=True),
    "edits": Panel("edits of the page before", "one edit, ms"),
}

Series = dict[str, list[tuple[float, float]]]


def plot(lines: Sequence[Line], file: Path) -> None:
    """Write a PNG with a panel for each of the things that grow, as far as they were measured."""
    panels: dict[str, Series] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if line.point:
            panel, series, x = line.point
            panels[panel][series].append((x, line.figure.value))
    picture = Picture(figsize=(12, 7), layout="constrained")
    for axes, name in zip(picture.subplots(2, 3).flat, PANELS, strict=True):
        _draw(axes, PANELS[name], panels[name])
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(file, dpi=110)


def _draw(axes: Axes, panel: Panel, series: Series) -> None:
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    ticks = sorted({x for points in series.values() for x, _ in points})
    axes.set_xscale("log")
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    if panel.proportional:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.5g}"))
    axes.set_xlabel(panel.over)
    axes.set_ylabel(panel.what)
    axes.grid(visible=True, alpha=0.3)
    if series:
        axes.legend()
