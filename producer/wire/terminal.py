"""How the commands of both ends behave on a terminal: logs, errors, exit codes."""

from __future__ import annotations

import logging
import sys

import psycopg
import typer
from aiokafka.errors import KafkaError, ProducerFenced
from eventsourcing.domain import EventSourcingError
from eventsourcing.persistence import PersistenceError
from eventsourcing.utils import TopicError
from rich.console import Console
from rich.logging import RichHandler


class OperatorError(Exception):
    """What only a person can settle. Its text says what is wrong, and what to do."""


class SettingsError(OperatorError, ValueError):
    """A setting, or what a command was given, is wrong."""


def run_commands(app: typer.Typer) -> None:
    """Run a command line: 0 when all is well, 1 with a line about what is wrong, 2 for usage."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        datefmt="[%X]",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False)],
    )
    # What it reports of a lost server is said once, by us.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        app()
    except ProducerFenced:
        _fail("Another relay for this application has taken over. There is one at a time.")
    except (
        EventSourcingError,
        KafkaError,
        OSError,
        OperatorError,
        PersistenceError,
        TopicError,
        psycopg.Error,
    ) as error:
        _fail(str(error).strip() or type(error).__name__)


def _fail(message: str) -> None:
    typer.secho(f"error: {message}", fg="red", err=True)
    sys.exit(1)
