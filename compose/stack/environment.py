"""Which stack a command is about: the one of this shell, or one that runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

WhichData = Annotated[
    Path | None, typer.Option("--data", help="The data folder of the stack, if several run.")
]


def stack_environment(data: Path | None) -> Mapping[str, str]:
    """Return the settings of the stack that is meant: of this shell, or of a running one.

    Raises `StackError` when none runs, or more than one to choose from.
    """
    if not data and "KAFKA_BOOTSTRAP_SERVERS" in os.environ:
        return os.environ
    return running_environment(data)


def running_environment(data: Path | None) -> Mapping[str, str]:
    """Return the settings of a stack that runs. Raises `StackError`."""
    from eventsourcing_kafka.compose.stack.stack import running_stack

    return running_stack(data).environment
