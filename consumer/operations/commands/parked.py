"""The commands about events that can't be applied: `eventsourcing-kafka consumer parked --help`."""

from __future__ import annotations

import getpass
from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec
import typer

from eventsourcing_kafka.consumer.engine.parking import Dropped, Parked
from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.operations.commands import messages
from eventsourcing_kafka.consumer.operations.commands.stores import (
    WHICH,
    SystemTopic,
    complete_view,
    opened_store,
)
from eventsourcing_kafka.consumer.operations.redrive import (
    StillFailingError,
    dropped_events,
    parked_event,
    parked_events,
    parked_originators,
)
from eventsourcing_kafka.consumer.operations.redrive import drop as drop_event
from eventsourcing_kafka.consumer.operations.redrive import retry as retry_aggregate
from eventsourcing_kafka.producer.runtime.cli import CommandLine, finished
from eventsourcing_kafka.producer.runtime.logs import complain
from eventsourcing_kafka.producer.runtime.output import AsJson, Yes, confirm, show, tell
from eventsourcing_kafka.producer.runtime.pipeline import PipelineFile
from eventsourcing_kafka.producer.runtime.printable import printable

COMMANDS = CommandLine(
    help="Events that could not be applied. They are set aside in order, aggregate by aggregate, "
    "and nothing of them is lost: mend what is wrong, and retry; or drop them one by one.\n\n"
    "Example: eventsourcing-kafka consumer parked list --view shop.views:ORDERS",
)

ViewName = Annotated[
    str | None,
    typer.Option(
        "--view",
        "-v",
        metavar="VIEW",
        help=f"Which view. {WHICH}",
        show_default="the only one of the pipeline, of a system, or installed",
        autocompletion=complete_view,
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


class Header(msgspec.Struct, frozen=True):
    """One of a record's headers, as text; bytes that are none are shown by their numbers."""

    name: str
    value: str | None


class Retried(msgspec.Struct, frozen=True):
    """What came of trying an aggregate again: how many events were applied, or why none was."""

    originator_id: str
    applied: int
    failure: str | None = None


@COMMANDS.command("list")
def list_parked(
    view: ViewName = None,
    system: SystemTopic = None,
    file: PipelineFile = None,
    as_json: AsJson = False,
) -> None:
    """List what is parked, in order.

    Example: eventsourcing-kafka consumer parked list --view shop.views:ORDERS

    Example: eventsourcing-kafka consumer parked list --system shop.packing:system
    """
    with opened_store(view, system, file) as store:
        rows = finished(lambda: parked_events(store))
    show([_line(event) for event in rows], ParkedLine, as_json=as_json)


@COMMANDS.command("dropped")
def list_dropped(
    view: ViewName = None,
    system: SystemTopic = None,
    file: PipelineFile = None,
    as_json: AsJson = False,
) -> None:
    """List what was given up for ever: dropped events, and offsets skipped with Kafka's tool.

    Example: eventsourcing-kafka consumer parked dropped --view shop.views:ORDERS
    """
    with opened_store(view, system, file) as store:
        rows = finished(lambda: dropped_events(store))
    show(rows, Dropped, as_json=as_json)


@COMMANDS.command("show")
def show_parked(
    event_id: EventId,
    view: ViewName = None,
    system: SystemTopic = None,
    file: PipelineFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a parked event: its record, why it could not be applied, and the traceback.

    Example: eventsourcing-kafka consumer parked show 7 --view shop.views:ORDERS
    """
    with opened_store(view, system, file) as store:
        event = finished(lambda: parked_event(store, event_id))
    headers = [_header(*header) for header in event.record().headers]
    if as_json:
        typer.echo(msgspec.json.encode({**msgspec.structs.asdict(event), "headers": headers}))
        return
    for name, value in msgspec.structs.asdict(event).items():
        if name == "headers":
            typer.echo("headers:")
            for header in headers:
                typer.echo(f"  {printable(header.name)}: {printable(header.value or '')}")
        else:
            # Bytes as Python writes them: whatever is in them does not steer the terminal.
            typer.echo(f"{name}: {value if name == 'traceback' else repr(value)}")


@COMMANDS.command()
def retry(
    view: ViewName = None,
    system: SystemTopic = None,
    file: PipelineFile = None,
    aggregate: Annotated[str | None, typer.Option(help="The originator ID of one.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All aggregates.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try parked events again: all of an aggregate, in order, in one transaction.

    Example: eventsourcing-kafka consumer parked retry --view shop.views:ORDERS --all
    """
    if every == bool(aggregate):
        raise typer.BadParameter("say either --aggregate ID or --all")
    with opened_store(view, system, file) as store:
        results = []
        for originator_id in _aggregates(store, aggregate):
            results.append(_retry(store, originator_id))
            if not as_json and not results[-1].failure:
                typer.echo(messages.retried(originator_id, results[-1].applied))
    if as_json:
        typer.echo(msgspec.json.encode(results))
    elif not results:
        typer.echo(f"nothing of {store.view.name} is parked")
    if any(result.failure for result in results):
        raise typer.Exit(1)


def _aggregates(store: Store, aggregate: str | None) -> list[str]:
    return [aggregate] if aggregate else finished(lambda: parked_originators(store))


def _retry(store: Store, originator_id: str) -> Retried:
    try:
        return Retried(originator_id, finished(partial(retry_aggregate, store, originator_id)))
    except StillFailingError as error:
        complain(str(error))
        return Retried(originator_id, 0, str(error))


@COMMANDS.command()
def drop(
    event_id: EventId,
    reason: Annotated[str, typer.Option(help="Why. It is kept for ever.")],
    view: ViewName = None,
    system: SystemTopic = None,
    file: PipelineFile = None,
    by: Annotated[str, typer.Option(help="Who.", show_default="your login name")] = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give up the first parked event of an aggregate. Who did so, when and why is kept for ever.

    Example: eventsourcing-kafka consumer parked drop 7 -v shop.views:ORDERS --reason "see 12"
    """
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    with opened_store(view, system, file) as store:
        event = finished(lambda: parked_event(store, event_id))
        confirm(messages.may_drop(store.view.name, event), yes=yes)
        who = by or getpass.getuser()
        finished(lambda: drop_event(store, event_id, by=who, reason=reason))
    tell(
        messages.dropped(store.view, event_id),
        {"id": event_id, "view": store.view.name, "dropped_by": who, "reason": reason},
        as_json=as_json,
    )


def _header(name: str, value: bytes | None) -> Header:
    text = None if value is None else value.decode(errors="backslashreplace")
    return Header(name, text)


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
