"""Logs on the standard error: lines for people, or a JSON object a line for machines.

What is logged says where something happened and what kind of error it was; it quotes no event and
no setting. Why an event could not be applied may quote it, so that is kept where the views are.
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
    # What it reports of a lost server is said once, by us, with the reason out of its log.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    logging.getLogger("aiokafka").propagate = False


def complain(message: str) -> None:
    """Say what is wrong, in the format of the logs."""
    if logs_are_json():
        logging.getLogger("command").error(message)
    else:
        Console(stderr=True).print(Text(f"error: {message}", "red"), soft_wrap=True)


def logs_are_json() -> bool:
    """Tell whether a machine reads along."""
    return any(isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers)


NOT_GRANTED = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


def said(error: BaseException) -> str:
    """Return what an error says, without the rows that Postgres quotes in the detail of its own.

    What Kafka does not grant comes with what to do about it.
    """
    if isinstance(error, NOT_GRANTED):
        return f"{error}. What each process needs: eventsourcing-kafka compose grants kafka"
    origin = error.__cause__ if isinstance(error, PersistenceError) else error
    primary = origin.diag.message_primary if isinstance(origin, psycopg.Error) else None
    return primary or str(error).strip() or type(error).__name__


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
