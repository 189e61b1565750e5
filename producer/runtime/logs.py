"""Logs on the standard error: lines for people, or a JSON object a line for machines.

A log line says where something happened, and names the error; it quotes no event and no setting.
The reason why an event could not be applied may quote the event, so it is kept beside the view.
"""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from typing import Annotated

import psycopg
import typer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from eventsourcing.persistence import PersistenceError
from pythonjsonlogger.json import JsonFormatter
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from eventsourcing_kafka.producer.runtime.servers import server_noted


class LogFormat(StrEnum):
    """How logs, and the error that a command ends with, are written."""

    TEXT = "text"
    JSON = "json"


LogFormatOption = Annotated[
    LogFormat,
    typer.Option(
        "--log-format", envvar="LOG_FORMAT", help="Of the logs: for people, or JSON, line by line."
    ),
]


def start_logs(how: LogFormat = LogFormat.TEXT) -> None:
    """Log to the standard error. Logs that are set up stay as they are, unless JSON is wanted."""
    root = logging.getLogger()
    logging.basicConfig(
        level=root.level if root.handlers else logging.INFO,
        format="%(message)s",
        datefmt="[%X]",
        handlers=[_json_handler() if how is LogFormat.JSON else _text_handler()],
        force=how is LogFormat.JSON,
    )
    # These log each attempt to reach a lost server. We log the loss once, with its reason.
    for driver in ("aiokafka", "cassandra"):
        logging.getLogger(driver).addHandler(logging.NullHandler())
        logging.getLogger(driver).propagate = False


def complain(message: str) -> None:
    """Print an error that ends a command, in the format of the logs."""
    if logs_are_json():
        logging.getLogger("command").error(message)
    else:
        Console(stderr=True).print(Text(f"error: {message}", "red"), soft_wrap=True)


def logs_are_json() -> bool:
    """Tell whether the logs are JSON, for a machine."""
    return any(isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers)


NOT_GRANTED = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


def message_of(error: BaseException) -> str:
    """Return the message of an error, without the rows that Postgres quotes in the details.

    Where Kafka refuses for want of a grant it says what to do. An error of which it is noted whose
    it is begins with that.
    """
    if isinstance(error, NOT_GRANTED):
        return f"{error}. What each process needs: eventsourcing-kafka compose grants kafka"
    origin = error.__cause__ if isinstance(error, PersistenceError) else error
    primary = origin.diag.message_primary if isinstance(origin, psycopg.Error) else None
    message = primary or str(error).strip() or type(error).__name__
    server = server_noted(error)
    return f"{server}: {message}" if server else message


def _text_handler() -> logging.Handler:
    return RichHandler(console=Console(stderr=True), show_path=False)


def _json_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
        )
    )
    return handler
