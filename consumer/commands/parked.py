"""The commands about events that can't be applied: `python -m consumer parked --help`."""

from __future__ import annotations

import getpass
from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec
import typer

from consumer.commands.output import AsJson, Yes, confirm, show
from consumer.commands.stores import SystemTopic, opened_store
from consumer.mending import (
    StillFailingError,
    dropped_events,
    parked_event,
    parked_events,
    parked_originators,
)
from consumer.mending import drop as drop_event
from consumer.mending import retry as retry_aggregate
from consumer.parking import Dropped, Parked
from consumer.store import ViewStore
from producer.wire.endurance import run

COMMANDS = typer.Typer(
    no_args_is_help=True,
    help="Events that could not be applied. They are set aside in order, aggregate by aggregate, "
    "and nothing of them is lost: mend what is wrong, and retry; or drop them one by one.",
)

DEFAULT = "fts"

ViewName = Annotated[
    str | None,
    typer.Option(
        "--view", "-v", help="Which view.", show_default=f"{DEFAULT}, or the only one of a system"
    ),
]
EventId = Annotated[int, typer.Argument(metavar="ID", help="As `list` shows it.")]


class ParkedLine(msgspec.Struct, frozen=True):
    """What a list shows of a parked event."""

    id: int
    partition: int
    offset: int
    position: int | None
    type: str | None
    originator_id: str
    version: int | None
    parked_at: datetime
    reason: str


@COMMANDS.command("list")
def list_parked(view: ViewName = None, system: SystemTopic = None, as_json: AsJson = False) -> None:
    """List what is parked, in order.

    Example: python -m consumer parked list

    Example: python -m consumer parked list --system consumer.counters.system:system
    """
    with opened_store(view, system, DEFAULT) as store:
        rows = run(lambda: parked_events(store)) or []
    show([_line(event) for event in rows], ParkedLine, as_json=as_json)


@COMMANDS.command("dropped")
def list_dropped(
    view: ViewName = None, system: SystemTopic = None, as_json: AsJson = False
) -> None:
    """List what was given up for ever: dropped events, and offsets skipped with Kafka's tool.

    Example: python -m consumer parked dropped
    """
    with opened_store(view, system, DEFAULT) as store:
        rows = run(lambda: dropped_events(store)) or []
    show(rows, Dropped, as_json=as_json)


@COMMANDS.command("show")
def show_parked(
    event_id: EventId,
    view: ViewName = None,
    system: SystemTopic = None,
    as_json: AsJson = False,
) -> None:
    """Show a parked event: its record, why it could not be applied, and the traceback.

    Example: python -m consumer parked show 7
    """
    with opened_store(view, system, DEFAULT) as store:
        event = run(lambda: parked_event(store, event_id))
    if event is None:
        raise typer.Exit(130)
    if as_json:
        typer.echo(msgspec.json.encode(event))
        return
    for name, value in msgspec.structs.asdict(event).items():
        # Bytes as Python writes them: whatever is in them does not steer the terminal.
        typer.echo(f"{name}: {value if name == 'traceback' else repr(value)}")


@COMMANDS.command()
def retry(
    view: ViewName = None,
    system: SystemTopic = None,
    aggregate: Annotated[str | None, typer.Option(help="The originator ID of one.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All aggregates.")] = False,
) -> None:
    """Try parked events again: all of an aggregate, in order, in one transaction.

    Example: python -m consumer parked retry --all
    """
    if every == bool(aggregate):
        raise typer.BadParameter("say either --aggregate ID or --all")
    with opened_store(view, system, DEFAULT) as store:
        failed = _retry(store, aggregate)
    if failed:
        raise typer.Exit(1)


def _retry(store: ViewStore, aggregate: str | None) -> int:
    """Try one aggregate again, or all of them; return how many still fail."""
    aggregates = [aggregate] if aggregate else run(lambda: parked_originators(store)) or []
    if not aggregates:
        typer.echo(f"nothing of {store.view.name} is parked")
    failed = 0
    for originator_id in aggregates:
        try:
            applied = run(partial(retry_aggregate, store, originator_id))
            typer.echo(f"{originator_id}: {applied} applied")
        except StillFailingError as error:
            typer.secho(str(error), fg="red", err=True)
            failed += 1
    return failed


@COMMANDS.command()
def drop(
    event_id: EventId,
    reason: Annotated[str, typer.Option(help="Why. It is kept for ever.")],
    view: ViewName = None,
    system: SystemTopic = None,
    by: Annotated[str, typer.Option(help="Who.", show_default="your login name")] = "",
    yes: Yes = False,
) -> None:
    """Give up the first parked event of an aggregate. Who did so, when and why is kept for ever.

    Example: python -m consumer parked drop 7 --reason "written by mistake, see ticket 12"
    """
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    with opened_store(view, system, DEFAULT) as store:
        event = run(lambda: parked_event(store, event_id))
        if event is None:
            raise typer.Exit(130)
        what = f"{event.type} of {event.originator_id} in {store.view.name}"
        confirm(f"Give up {what}, for ever?", yes=yes)
        who = by or getpass.getuser()
        run(lambda: drop_event(store, event_id, by=who, reason=reason))
    typer.echo(f"event {event_id} is dropped; those behind it wait for: parked retry")


def _line(event: Parked) -> ParkedLine:
    return ParkedLine(
        event.id,
        event.partition,
        event.record_offset,
        event.position,
        event.type,
        event.originator_id,
        event.originator_version,
        event.parked_at,
        event.reason,
    )
