"""The command that prints what each process needs."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from eventsourcing_kafka.compose.security.grants import acls, as_commands, as_script, grants
from eventsourcing_kafka.consumer.views.registry import views
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement

COMMANDS = typer.Typer()


class Server(StrEnum):
    """Where something is granted."""

    KAFKA = "kafka"
    POSTGRES = "postgres"


@COMMANDS.command("grants")
def print_grants(
    server: Annotated[Server, typer.Argument(help="For which of the two.")],
    rebuild: Annotated[
        bool, typer.Option(help="With what `eventsourcing-kafka consumer rebuild` needs besides.")
    ] = False,
) -> None:
    """Print what relay, views and readers may do, and no more: as commands, or as SQL.

    It changes nothing by itself. Who may grant that pipes it
    to a shell, or to psql.

    Example: eventsourcing-kafka compose grants kafka
    """
    match server:
        case Server.KAFKA:
            lines = as_commands(acls(ContentManagement, views(), os.environ, rebuild=rebuild))
        case Server.POSTGRES:
            lines = as_script(grants(ContentManagement, views(), os.environ, rebuild=rebuild))
    for line in lines:
        typer.echo(line)
