"""All commands: `eventsourcing-kafka`, or `python -m eventsourcing_kafka`."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from eventsourcing_kafka.producer.runtime.cli import CommandLine, run_commands

DISTRIBUTION = "eventsourcing-kafka"
PARTS = ("producer", "consumer", "compose")

NEW_OBJECTS = 300_000
"""So many make Python look for cycles among them. The batches in flight are many objects, 22 of
each record, and no cycles: to look through them is a quarter of catching up."""


class _Parts(TyperGroup):
    """Imports a part's commands when they are asked for: a relay starts without the consumers'."""

    def list_commands(self, _context: Any) -> list[str]:
        return list(PARTS)

    def get_command(self, context: Any, name: str) -> Any:
        if name in PARTS and name not in self.commands:
            module = import_module(f"eventsourcing_kafka.{name}.command_line")
            self.commands[name] = typer.main.get_command(module.app)
            self.commands[name].name = name
            gc.freeze()  # What is imported stays: looking through it stops a loop for 20 ms.
        return super().get_command(context, name)


app = CommandLine(
    help="Streams the events of applications through Kafka into views, each exactly once.\n\n"
    "Example: eventsourcing-kafka compose up",
    add_completion=True,
    group=_Parts,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{DISTRIBUTION} {version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def _all_commands(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    """Take what belongs to no part."""


def main() -> None:
    """Run what is typed. The present folder is looked in for applications, as by `python -m`."""
    sys.path.insert(0, "")
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
    run_commands(app)


if __name__ == "__main__":
    main()
