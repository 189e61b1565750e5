"""What all commands share: options, exit codes, and the console that progress is shown on."""

from __future__ import annotations

import importlib.metadata
import io
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from functools import partial
from typing import Annotated, Any, TypeVar

import psycopg
import typer
from aiokafka.errors import KafkaError
from eventsourcing.domain import EventSourcingError
from eventsourcing.persistence import PersistenceError
from eventsourcing.utils import TopicError
from rich.console import Console
from typer.core import TyperGroup

from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.logs import (
    complain,
    logs_are_json,
    message_of,
    start_logs,
)
from eventsourcing_kafka.producer.runtime.plugins import brought_commands
from eventsourcing_kafka.producer.runtime.process import run

INTERRUPTED = 130

T = TypeVar("T")

_quiet = ContextVar("quiet", default=False)


def _be_quiet(context: typer.Context, quiet: bool) -> None:
    """Log no more than warnings, and show no progress, until the command ends."""
    if quiet and not context.resilient_parsing:
        root = logging.getLogger()
        context.call_on_close(partial(root.setLevel, root.level))
        context.call_on_close(partial(_quiet.reset, _quiet.set(True)))
        root.setLevel(logging.WARNING)


_shared = typer.Typer()


@_shared.command()
def _options(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            callback=_be_quiet,
            expose_value=False,
            help="Only results, warnings and errors: no progress, and not what goes well.",
        ),
    ] = False,
) -> None:
    """Declare the options that every command has."""


class _Commands(TyperGroup):
    """Commands that take the shared options besides their own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _share_options(self.commands.values())


def _share_options(commands: Iterable[Any]) -> None:
    shared = [p for p in typer.main.get_command(_shared).params if p.name == "quiet"]
    for command in commands:
        if not isinstance(command, TyperGroup):
            command.params += shared


def with_brought_commands(part: str) -> type[TyperGroup]:
    """Return commands that have those of other distributions besides, for a part of the whole.

    They are imported when one is asked for that is none of ours, or all are listed: whoever runs a
    loop has nothing of others in it.
    """

    class WithBrought(_Commands):
        brought = False

        def list_commands(self, context: Any) -> list[str]:
            self._bring()
            return super().list_commands(context)

        def get_command(self, context: Any, name: str) -> Any:
            if name not in self.commands:
                self._bring()
            return super().get_command(context, name)

        def _bring(self) -> None:
            if self.brought:
                return
            self.brought = True
            for commands in brought_commands(part):
                named = typer.main.get_group(commands).commands
                _share_options(named.values())
                self.commands.update(named)

    return WithBrought


class CommandLine(typer.Typer):
    """A command line, or a part of one, with one look and feel.

    Completion is off unless asked for: a shell completes what follows the name of an installed
    command, and not what follows `python -m`.
    """

    def __init__(
        self,
        *,
        help: str,  # noqa: A002 - typer's
        add_completion: bool = False,
        group: type[TyperGroup] = _Commands,
    ) -> None:
        super().__init__(
            cls=group,
            help=help,
            no_args_is_help=True,
            add_completion=add_completion,
            pretty_exceptions_enable=False,
        )


def finished(main: Callable[[], Awaitable[T]]) -> T:
    """Run what ends by itself, and return its result; interrupted, the command exits with 130."""
    results: list[T] = []

    async def keep_result() -> None:
        results.append(await main())

    run(keep_result)
    if not results:
        raise typer.Exit(INTERRUPTED)
    return results[0]


def progress_console() -> Console:
    """Return where progress is shown: on standard error, or with `--quiet` nowhere."""
    return Console(stderr=True, quiet=_quiet.get(), highlight=False, markup=False)


logger = logging.getLogger(__name__)


def run_commands(app: typer.Typer) -> None:
    """Run a command line.

    It exits with 0 when all is well, 1 with a line about what is wrong, 2 when it was called
    wrongly, 130 when it was interrupted before its end.
    """
    start_logs()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a terminal or a file can't show is shown by its number; JSON is UTF-8 all the same.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except (
        EventSourcingError,
        KafkaError,
        OSError,
        OperatorError,
        PersistenceError,
        TopicError,
        psycopg.Error,
    ) as error:
        _fail(message_of(error))
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
    """Return the distribution with the extra that installs a module; empty if none does."""
    distribution = "eventsourcing-kafka"
    for requirement in importlib.metadata.requires(distribution) or ():
        brings = re.match(r"""([\w-]+).*extra == ['"](.+)['"]""", requirement)
        if brings and brings[1].replace("-", "_") == module.partition(".")[0]:
            return f"{distribution}[{brings[2]}]"
    return ""
