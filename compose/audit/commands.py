"""The command that audits."""

from __future__ import annotations

from typing import Annotated

import typer

from eventsourcing_kafka.compose.audit.audit import FULL_FINDINGS
from eventsourcing_kafka.compose.audit.display import audit_and_show
from eventsourcing_kafka.compose.stack.environment import WhichData, meant
from eventsourcing_kafka.consumer.operations.commands.stores import SystemTopic, ViewNames
from eventsourcing_kafka.producer.runtime.cli import finished
from eventsourcing_kafka.producer.runtime.pipeline import PipelineFile

COMMANDS = typer.Typer()


@COMMANDS.command()
def audit(
    names: ViewNames = None,
    system: SystemTopic = None,
    file: PipelineFile = None,
    rows: Annotated[
        bool, typer.Option(help="Compare the rows of views, too, and not only their tracking.")
    ] = True,
    limit: Annotated[int, typer.Option(min=0, help="Findings to show in full.")] = FULL_FINDINGS,
    decrypt: Annotated[
        bool, typer.Option(help="The relay publishes encrypted events as plain JSON.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    data: WhichData = None,
) -> None:
    """Compare views, position by position, with the write models and topics that they follow.

    Everything may run meanwhile. The exit code is 1 if anything is found, and if something could
    not be compared: a view that is not there, or the rows of one that brings no audit. With
    --no-rows no rows are wanted, and their absence is no failure.

    Of a system it compares every leader with its topic, and the tracking of every follower in
    Postgres with that. What a follower has recorded is not compared, as only its policy knows what
    that must be: say --no-rows.

    Example: eventsourcing-kafka compose audit shop.views:ORDERS

    Example: eventsourcing-kafka compose audit --no-rows --system shop.packing:system
    """
    environment, pipeline = meant(data, file)
    report = finished(
        lambda: audit_and_show(
            environment,
            names or (),
            system=system,
            pipeline=pipeline,
            rows=rows,
            limit=limit,
            decrypt=decrypt,
            as_json=as_json,
        )
    )
    raise typer.Exit(0 if report.success else 1)
