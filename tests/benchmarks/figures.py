"""What is measured, what it is measured against, and how that is shown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.table import Table
from rich.text import Text


class Sample:
    """The same thing, measured more than once."""

    def __init__(self, values: Iterable[float]) -> None:
        self.measured = list(values)
        """In the order of time."""
        self.values = sorted(self.measured)

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        """How far the values lie apart, in parts of the median."""
        low, high = self.values[0], self.values[-1]
        return f"±{(high - low) / 2 / self.median:.0%}" if high > low else ""

    def percentile(self, percent: int) -> float:
        """The value that so many percent of the values do not exceed."""
        return self.values[max(0, -(-len(self.values) * percent // 100) - 1)]


class Verdict(StrEnum):
    """Whether a ratio is what it should be."""

    YES = "yes"
    NO = "no"
    UNCLEAR = "unclear"
    """Some of its pairs say yes, and some no: it is not known well enough."""


class Marks:
    """How many events were done, and when."""

    def __init__(self) -> None:
        self._marks = [(time.perf_counter(), 0)]

    @property
    def events(self) -> int:
        """How many are done."""
        return self._marks[-1][1]

    def note(self, events: int) -> None:
        """Take note that so many are done by now."""
        if events > self.events:
            self._marks.append((time.perf_counter(), events))

    @property
    def rate(self) -> float:
        """Events per second since a tenth, and the first batch, were done.

        The start is another figure, and so is what a broker takes to lay out a new topic's files.
        """
        end, last = self._marks[-1]
        later = [mark for mark in self._marks[1:-1] if mark[1] >= last / 10]
        begin, first = (later or self._marks)[0]
        return (last - first) / (end - begin)

    @property
    def whole_rate(self) -> float:
        """Events per second since the marks were begun."""
        (begin, _), *_, (end, last) = self._marks
        return last / (end - begin)


class Figure(msgspec.Struct, frozen=True):
    """One line of the table. A ratio above one is in our favour.

    What is compared is measured in turn: the ratio is the median of those of the pairs, which lie
    between `ratio_low` and `ratio_high`. What all of a machine has at an hour is in both.
    """

    what: str
    value: float
    unit: str
    against: str | None = None
    reference: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    at_least: float | None = None


class Point(NamedTuple):
    """Where a figure is in the plot."""

    panel: str
    series: str
    x: float


class Line(NamedTuple):
    """A figure, and how far its values, and those that it is measured against, lie apart."""

    figure: Figure
    spread: str = ""
    reference_spread: str = ""
    benchmark: str = ""
    """Which one gave it."""
    point: Point | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Whether it is as it should be; None if nothing is required."""
        low, high, at_least = self.figure.ratio_low, self.figure.ratio_high, self.figure.at_least
        if low is None or high is None or at_least is None:
            return None
        if low < at_least <= high:
            return Verdict.UNCLEAR
        return Verdict.YES if low >= at_least else Verdict.NO

    @property
    def ratio_range(self) -> str:
        """How far the ratios of the pairs lie apart."""
        low, high = self.figure.ratio_low, self.figure.ratio_high
        return f"{short(low)}…{short(high)}" if low != high else ""


def reported(what: str, sample: Sample, unit: str) -> Line:
    """Return a figure by itself."""
    return Line(Figure(what, sample.median, unit), sample.spread)


def faster(
    what: str,
    rates: Sample,
    against: str,
    references: Sample,
    at_least: float | None = None,
    unit: str = "events/s",
) -> Line:
    """Compare rates, measured in turn: more is better."""
    pairs = _pairs(rates.measured, references.measured)
    figure = _compared(what, rates.median, unit, against, references.median, pairs, at_least)
    return Line(figure, rates.spread, references.spread)


def sooner(
    what: str,
    rounds: Sequence[Sample],
    against: str,
    references: Sequence[Sample],
    at_most: float | None = None,
    *,
    percent: int = 50,
    unit: str = "ms",
) -> Line:
    """Compare a percentile of times, or sizes: less is better, and `at_most` times as much is due.

    The percentile shown is that of all rounds together; the ratio is of one in each round.
    """
    ours, theirs = (Sample(chain(*(each.values for each in some))) for some in (rounds, references))
    pairs = _pairs(
        [each.percentile(percent) for each in references],
        [each.percentile(percent) for each in rounds],
    )
    value, reference = ours.percentile(percent), theirs.percentile(percent)
    at_least = 1 / at_most if at_most else None
    figure = _compared(what, value, unit, against, reference, pairs, at_least)
    return Line(figure, _range_of(ours), _range_of(theirs))


def within(what: str, values: Sample, unit: str, limit: float) -> Line:
    """Compare with what is allowed at most."""
    pairs = Sample(limit / each for each in values.measured)
    figure = _compared(what, values.median, unit, "its limit", limit, pairs, 1.0)
    return Line(figure, values.spread)


def _pairs(values: Sequence[float], references: Sequence[float]) -> Sample:
    """Return the ratios of what was measured in turn; of one if it was not as often."""
    if len(values) != len(references):
        return Sample([statistics.median(values) / statistics.median(references)])
    return Sample(value / reference for value, reference in zip(values, references, strict=True))


def _compared(
    what: str,
    value: float,
    unit: str,
    against: str,
    reference: float,
    pairs: Sample,
    at_least: float | None,
) -> Figure:
    low, high = pairs.values[0], pairs.values[-1]
    return Figure(what, value, unit, against, reference, pairs.median, low, high, at_least)


def _range_of(values: Sample) -> str:
    return f"{values.values[0]:.1f}…{values.values[-1]:.1f}" if len(values.values) > 1 else ""


def table(lines: Sequence[Line]) -> Table:
    """Show figures, ratios first."""
    shown = Table("ratio", "", "at least", "", "what", "value", "", "against", "reference", "")
    colors = {Verdict.YES: "green", Verdict.NO: "red", Verdict.UNCLEAR: "yellow", None: ""}
    for line in lines:
        figure = line.figure
        shown.add_row(
            short(figure.ratio),
            line.ratio_range,
            short(figure.at_least),
            Text(line.verdict or "", colors[line.verdict]),
            figure.what,
            f"{short(figure.value)} {figure.unit}",
            line.spread,
            figure.against,
            short(figure.reference),
            line.reference_spread,
        )
    return shown


def save(lines: Sequence[Line], file: Path) -> None:
    """Write the figures as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figures = msgspec.json.encode([line.figure for line in lines])
    file.write_bytes(msgspec.json.format(figures))


def short(number: float | None) -> str:
    """Return a number as it is shown."""
    if number is None:
        return ""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
