"""How the commands of both ends behave on a terminal: errors, exit codes."""

from __future__ import annotations

import logging
import sys

import psycopg
import typer
from aiokafka.errors import KafkaError, ProducerFenced
from eventsourcing.domain import EventSourcingError
from eventsourcing.persistence import PersistenceError
from eventsourcing.utils import TopicError

from producer.wire.logs import complain, logs_are_json, said, start_logs

logger = logging.getLogger(__name__)


class OperatorError(Exception):
    """What only a person can settle. Its text says what is wrong, and what to do."""


class SettingsError(OperatorError, ValueError):
    """A setting, or what a command was given, is wrong."""


def run_commands(app: typer.Typer) -> None:
    """Run a command line: 0 when all is well, 1 with a line about what is wrong, 2 for usage."""
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
    except Exception:
        if not logs_are_json():
            raise
        logger.exception("This is a defect of the program:")
        sys.exit(1)


def _fail(message: str) -> None:
    complain(message)
    sys.exit(1)
