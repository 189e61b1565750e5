"""`eventsourcing-kafka consumer step`: shows what each event of an aggregate does to a view."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from eventsourcing_kafka.consumer.engine.parking import Dropped
from eventsourcing_kafka.consumer.operations.commands.stores import (
    SystemTopic,
    ViewName,
    opened_store,
)
from eventsourcing_kafka.consumer.operations.history import History
from eventsourcing_kafka.consumer.operations.one_aggregate import Change, Step, steps
from eventsourcing_kafka.producer.runtime.cli import finished
from eventsourcing_kafka.producer.runtime.output import AsJson
from eventsourcing_kafka.producer.runtime.pipeline import PipelineFile, settings_with
from eventsourcing_kafka.producer.runtime.printable import printable

LONGEST_VALUE = 100
"""Characters of a value in a text for people. JSON has it all."""


def step(
    view: ViewName,
    aggregate: Annotated[str, typer.Option(metavar="ID", help="Whose events.")],
    until: Annotated[
        int | None, typer.Option(metavar="VERSION", help="The last of them to be shown.")
    ] = None,
    system: SystemTopic = None,
    file: PipelineFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what each event of an aggregate does to the view's rows, one by one; write nothing.

    The events come from the write model, whose settings are the application's
    (SHOP_POSTGRES_DBNAME), up to where the view has applied them. They are applied to empty tables,
    in a transaction that is rolled back: it takes the right to make a schema, as a rebuild does.
    Exits with 1 if an event can't be applied.

    Example: eventsourcing-kafka consumer step shop.views:ORDERS --aggregate 0f3c… --until 3
    """
    shown: list[Step] = []

    async def walk() -> None:
        async with History.of(store.view, env) as history:
            async for each in steps(store, history, aggregate, until):
                shown.append(each)
                if not as_json:
                    show_step(each, Console(highlight=False))

    env = settings_with(file)
    with opened_store(view, system, file) as store:
        finished(walk)
    if as_json:
        typer.echo(msgspec.json.encode(shown))
    if any(each.error for each in shown):
        raise typer.Exit(1)


def show_step(step: Step, console: Console) -> None:
    """Print an event, and what it did."""
    console.print(Text(f"{step.type}, version {step.version}, position {step.position}", "bold"))
    for change in step.changes:
        for sign, line in changed_lines(change):
            console.print(Text(f"  {sign} {line}", "green" if sign == "+" else "red"))
    if step.error:
        console.print(Text(f"  can't be applied: {printable(step.error)}", "bold red"))
    elif step.dropped:
        console.print(Text(f"  {given_up(step.dropped)}", "yellow"))
    elif not step.changes:
        console.print(Text("  nothing changes", "dim"))


def given_up(dropped: Dropped) -> str:
    """Tell who gave an event up, when and why."""
    at = f"{dropped.dropped_at:%Y-%m-%d %H:%M:%S %Z}"
    return printable(f"dropped by {dropped.dropped_by}, {at}: {dropped.reason}")


def changed_lines(change: Change) -> Iterator[tuple[str, str]]:
    """Yield what came and went of a row; of one that stays, the columns that changed."""
    before, after = change.before or {}, change.after or {}
    columns = [name for name in (after or before) if before.get(name) != after.get(name)]
    for sign, row in (("-", before), ("+", after)):
        if row:
            yield sign, f"{change.table}: {_values(row, columns)}"


def _values(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    return ", ".join(f"{name}={_short(row[name])}" for name in columns)


def _short(value: Any) -> str:
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
