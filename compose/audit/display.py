"""What the audit shows on a terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventsourcing_kafka.compose.audit.audit import audit
from eventsourcing_kafka.compose.audit.kept import whoever_runs
from eventsourcing_kafka.compose.audit.report import Finding, Report
from eventsourcing_kafka.producer.runtime.cli import progress_console
from eventsourcing_kafka.producer.runtime.pipeline import Pipeline
from eventsourcing_kafka.producer.runtime.progress_bar import progress_bar


async def audit_and_show(
    environment: Mapping[str, str],
    names: Collection[str],
    *,
    system: str | None,
    pipeline: Pipeline | None,
    rows: bool,
    limit: int,
    decrypt: bool,
    as_json: bool,
) -> Report:
    """Run the audit with progress on standard error, and print what it found."""
    console = progress_console()
    with progress_bar(console, disable=not console.is_terminal) as progress:
        tasks = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
            progress.update(tasks[what], completed=done, total=total)

        report = await audit(
            environment,
            names,
            system=system,
            pipeline=pipeline,
            rows=rows,
            limit=limit,
            decrypt=decrypt,
            advance=advance,
            by=whoever_runs(),
        )
    if as_json:
        typer.echo(msgspec.json.encode(report))
    else:
        show(report, Console(highlight=False))
    return report


def show(report: Report, console: Console) -> None:
    """Print the findings, and one sentence."""
    if report.findings:
        table = Table(*Finding.__struct_fields__)
        for finding in report.findings:
            table.add_row(*map(_cell, msgspec.structs.astuple(finding)))
        console.print(table)
    if (more := sum(report.counts.values()) - len(report.findings)) > 0:
        console.print(f"… and {more:,} more")
    style = "green" if report.success else "yellow" if report.clean else "red"
    console.print(str(report), style=style, markup=False, soft_wrap=True)


def _cell(value: object) -> Text:
    # What a foreign record holds must not steer the terminal.
    text = "" if value is None else str(value)
    return Text("".join(c if c.isprintable() else "\ufffd" for c in text))
