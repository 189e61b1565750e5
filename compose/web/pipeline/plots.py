"""Draws the last minutes of a figure, as lines of an SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from eventsourcing_kafka.compose.web.pipeline.polling import HISTORY_SECONDS, Point

STEP_SECONDS = 5
STEPS = int(HISTORY_SECONDS / STEP_SECONDS)
WIDTH, HEIGHT = 4 * STEPS, 40

Steps = Mapping[int, Sequence[Point]]
"""Readings by the step of time that they are in."""


class Plot(NamedTuple):
    """What a template draws."""

    name: str
    now: str
    most: str
    lines: Sequence[str]
    """Points of one line each: it is not drawn over what is not known."""
    areas: Sequence[str]
    """What is below each of them."""
    outages: Sequence[int]
    """Where, from the left, it could not be read."""


def rate_plot(points: Iterable[Point], now: float, rate: float | None) -> Plot:
    """Draw how fast a part has come on."""
    steps = _steps(points)
    said = "not known" if rate is None else f"{rate:,.0f}/s"
    return _plot("rate", said, steps, now, lambda step: _rate_in(steps, step), "{:,.0f}/s")


def gap_plot(points: Iterable[Point], now: float, gap: int | None) -> Plot:
    """Draw how far behind a part was."""
    steps = _steps(points)
    known = "unknown" if gap is None else f"{gap:,}"
    return _plot("gap", known, steps, now, lambda step: _gap_in(steps, step), "{:,.0f}")


def _steps(points: Iterable[Point]) -> Steps:
    by_step = groupby(points, lambda point: int(point.at // STEP_SECONDS))
    return {step: list(readings) for step, readings in by_step}


def _rate_in(steps: Steps, step: int) -> float | None:
    readings = [*steps.get(step - 1, ())[-1:], *steps.get(step, ())]
    known = [(point.at, point.done) for point in readings if point.done is not None]
    if len(known) < 2 or len(known) < len(readings):  # noqa: PLR2004 - from one to another
        return None
    (began, before), (ended, after) = known[0], known[-1]
    return (after - before) / (ended - began) if after >= before and ended > began else None


def _gap_in(steps: Steps, step: int) -> float | None:
    return max((p.gap for p in steps.get(step, ()) if p.gap is not None), default=None)


def _plot(
    name: str, said: str, steps: Steps, now: float, value: Callable[[int], float | None], form: str
) -> Plot:
    last = int(now // STEP_SECONDS)
    window = range(last - STEPS + 1, last + 1)
    values = [value(step) for step in window]
    most = max((each for each in values if each is not None), default=0.0)
    lines = list(_lines(values, most))
    return Plot(
        name,
        said,
        form.format(most),
        [" ".join(f"{x},{y}" for x, y in line) for line in lines],
        [_area(line) for line in lines],
        [
            4 * place
            for place, step in enumerate(window)
            if any(point.done is None for point in steps.get(step, ()))
        ],
    )


def _lines(values: Sequence[float | None], most: float) -> Iterator[Sequence[tuple[int, float]]]:
    """Yield the runs of values that are known, as points from the left and from the top."""
    for known, run in groupby(enumerate(values), lambda each: each[1] is not None):
        if known:
            heights = [(4 * place, (value or 0) / most if most else 0) for place, value in run]
            line = [(x, round(HEIGHT - 2 - (HEIGHT - 4) * height, 1)) for x, height in heights]
            # Of a single one something is to be seen, too.
            yield line if len(line) > 1 else [line[0], (line[0][0] + 2, line[0][1])]


def _area(line: Sequence[tuple[int, float]]) -> str:
    first, last = line[0][0], line[-1][0]
    corners = [(first, HEIGHT), *line, (last, HEIGHT)]
    return " ".join(f"{x},{y}" for x, y in corners)
