"""The command that shows how far everything is."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from eventsourcing_kafka.compose.monitor.overview import opened_sources
from eventsourcing_kafka.compose.monitor.top import Top
from eventsourcing_kafka.compose.stack.environment import WhichData, meant
from eventsourcing_kafka.consumer.operations.commands.stores import SystemTopic, ViewNames
from eventsourcing_kafka.consumer.operations.commands.watch import watch
from eventsourcing_kafka.consumer.operations.status import never_run
from eventsourcing_kafka.producer.runtime.cli import finished
from eventsourcing_kafka.producer.runtime.pipeline import PipelineFile

COMMANDS = typer.Typer()


@COMMANDS.command()
def top(
    names: ViewNames = None,
    system: SystemTopic = None,
    file: PipelineFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, once.")] = False,
    data: WhichData = None,
) -> None:
    """Show how far everything is, on one screen, until Ctrl-C.

    Relay, topic, and each view with its partitions: who has them, their gaps, lags and rates, and
    what is parked. What can't be read is shown as down. Without a terminal it is printed once;
    then the exit code is 1 if anything is down, or has stopped, or if what is named, or in the
    pipeline, has never run though events are published.

    Example: eventsourcing-kafka compose top

    Example: eventsourcing-kafka compose top shop.views:ORDERS
    """
    environment, pipeline = meant(data, file)
    with opened_sources(environment, names or (), system, pipeline) as sources:
        console = Console(highlight=False)
        if console.is_terminal and not as_json:
            finished(partial(watch, sources.read, Top(console).render, console))
        overview = finished(sources.read)
    if as_json:
        typer.echo(msgspec.json.encode(overview))
    else:
        console.print(Top(console).render(overview))
    # What is installed only is not said to run here.
    lacking = never_run(overview.rows) if names or system or pipeline else ()
    raise typer.Exit(0 if overview.healthy and not lacking else 1)
