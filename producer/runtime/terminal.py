"""How the commands of both ends behave on a terminal: errors, exit codes."""

from __future__ import annotations

import importlib.metadata
import logging
import re
import sys

import psycopg
import typer
from aiokafka.errors import KafkaError, ProducerFenced
from eventsourcing.domain import EventSourcingError
from eventsourcing.persistence import PersistenceError
from eventsourcing.utils import TopicError

from eventsourcing_kafka.producer.runtime.logs import complain, logs_are_json, said, start_logs

logger = logging.getLogger(__name__)


class OperatorError(Exception):
    """What only a person can settle. Its text says what is wrong, and what to do."""


class SettingsError(OperatorError, ValueError):
    """A setting, or what a command was given, is wrong."""


def run_commands(app: typer.Typer) -> None:
    """Run a command line.

    It exits with 0 when all is well, 1 with a line about what is wrong, 2 when it was called
    wrongly, 130 when it was interrupted before its end.
    """
    start_logs()
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
        _fail(said(error))
    except ModuleNotFoundError as error:
        extra = _extra_with(error.name or "")
        if not extra:
            raise
        _fail(f"{error.name} is not installed, and this needs it: pip install '{extra}'")
    except Exception:
        if not logs_are_json():
            raise
        logger.exception("This is a defect of the program:")
        sys.exit(1)


def _fail(message: str) -> None:
    complain(message)
    sys.exit(1)


def _extra_with(module: str) -> str:
    """Return the distribution with the extra that brings a module; empty if none does."""
    distribution = "eventsourcing-kafka"
    for requirement in importlib.metadata.requires(distribution) or ():
        brings = re.match(r"""([\w-]+).*extra == ['"](.+)['"]""", requirement)
        if brings and brings[1].replace("-", "_") == module.partition(".")[0]:
            return f"{distribution}[{brings[2]}]"
    return ""
