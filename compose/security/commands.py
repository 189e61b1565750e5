"""The command that prints what each process needs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from eventsourcing_kafka.compose.leaders import leaders_of
from eventsourcing_kafka.compose.security.grants import acls, as_commands, as_script, grants
from eventsourcing_kafka.consumer.followers import followers_of
from eventsourcing_kafka.consumer.operations.commands.stores import ViewNames
from eventsourcing_kafka.producer.runtime.pipeline import (
    PipelineFile,
    found_pipeline,
    settings_with,
)

COMMANDS = typer.Typer()


class Server(StrEnum):
    """Where something is granted."""

    KAFKA = "kafka"
    POSTGRES = "postgres"


@COMMANDS.command("grants")
def print_grants(
    server: Annotated[Server, typer.Argument(help="For which of the two.")],
    names: ViewNames = None,
    file: PipelineFile = None,
    rebuild: Annotated[
        bool, typer.Option(help="With what `eventsourcing-kafka consumer rebuild` needs besides.")
    ] = False,
) -> None:
    """Print what views, followers, readers, and their relays may do: as commands, or as SQL.

    It changes nothing by itself. Who may grant that pipes it
    to a shell, or to psql.

    Example: eventsourcing-kafka compose grants kafka

    Example: eventsourcing-kafka compose grants postgres shop.views:ORDERS
    """
    pipeline, env = found_pipeline(file), settings_with(file)
    followers = followers_of(names or (), pipeline=pipeline)
    for leader in leaders_of(followers, pipeline, every=not names):
        views = [view for view in followers.views if view.application_name == leader.name]
        edges = {name: edge for name, edge in followers.edges.items() if edge.leader is leader}
        match server:
            case Server.KAFKA:
                lines = as_commands(acls(leader, views, env, edges=edges, rebuild=rebuild))
            case Server.POSTGRES:
                lines = as_script(grants(leader, views, env, edges=edges, rebuild=rebuild))
        for line in lines:
            typer.echo(line)
