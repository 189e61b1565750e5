"""What commands print: a table for people, JSON for machines."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventsourcing_kafka.producer.runtime.printable import printable

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="Rows to show.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what can't be undone; without a terminal to ask on, `--yes` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} Nobody is there to answer: say --yes.")
    typer.confirm(question, abort=True, err=True)


def tell(sentence: str, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what a command has done: a sentence, or the facts in it as JSON."""
    typer.echo(msgspec.json.encode(facts) if as_json else sentence)


def show(rows: Sequence[msgspec.Struct], row_type: type[msgspec.Struct], *, as_json: bool) -> None:
    """Print rows of one type."""
    if as_json:
        typer.echo(msgspec.json.encode(rows))
        return
    Console().print(table_of(rows, row_type))


def table_of(rows: Sequence[msgspec.Struct], row_type: type[msgspec.Struct]) -> Table:
    """Return a table of rows of one type, without the columns that are empty in all of them."""
    fields = [
        field
        for field in row_type.__struct_fields__
        if not rows or any(getattr(row, field) is not None for row in rows)
    ]
    table = Table(*fields)
    for row in rows:
        table.add_row(*(_cell(getattr(row, field)) for field in fields))
    return table


def _cell(value: Any) -> Text:
    match value:
        case None:
            return Text("")
        case float():
            return Text(f"{value:.1f}")
        case _:
            return Text(printable(str(value)))  # Anybody may have written it.
