"""The command that prints what each process needs."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from eventsourcing_kafka.compose.leaders import leader_of, leaders_of
from eventsourcing_kafka.compose.security.grants import acls, as_commands, as_script, grants
from eventsourcing_kafka.consumer.operations.commands.stores import ViewNames
from eventsourcing_kafka.consumer.views.registry import views_named

COMMANDS = typer.Typer()


class Server(StrEnum):
    """Where something is granted."""

    KAFKA = "kafka"
    POSTGRES = "postgres"


@COMMANDS.command("grants")
def print_grants(
    server: Annotated[Server, typer.Argument(help="For which of the two.")],
    names: ViewNames = None,
    rebuild: Annotated[
        bool, typer.Option(help="With what `eventsourcing-kafka consumer rebuild` needs besides.")
    ] = False,
) -> None:
    """Print what views, their readers, and the relays they follow may do: as commands, or as SQL.

    It changes nothing by itself. Who may grant that pipes it
    to a shell, or to psql.

    Example: eventsourcing-kafka compose grants kafka

    Example: eventsourcing-kafka compose grants postgres shop.views:ORDERS
    """
    views = views_named(names or ())
    for leader in leaders_of(views):
        its = [view for view in views if leader_of(view) is leader]
        match server:
            case Server.KAFKA:
                lines = as_commands(acls(leader, its, os.environ, rebuild=rebuild))
            case Server.POSTGRES:
                lines = as_script(grants(leader, its, os.environ, rebuild=rebuild))
        for line in lines:
            typer.echo(line)
