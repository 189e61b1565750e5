"""The commands that start a stack, and that point others at it.

What needs the servers' own libraries is imported by the commands that start or find servers, so
that the others work where the extra `compose` is not installed.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer
from rich.console import Console

from eventsourcing_kafka.compose.pipeline.check import check
from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.servers.tools import TOOLS
from eventsourcing_kafka.compose.stack.environment import (
    WhichData,
    running_environment,
    stack_environment,
)
from eventsourcing_kafka.compose.stack.parts import CASSANDRA, checked_parts, parts, services_of
from eventsourcing_kafka.compose.stack.sample import SAMPLE
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.cli import INTERRUPTED, progress_console
from eventsourcing_kafka.producer.runtime.logs import LogFormat, LogFormatOption, start_logs
from eventsourcing_kafka.producer.runtime.metrics_server import PORT
from eventsourcing_kafka.producer.runtime.pipeline import Pipeline, PipelineFile, found_pipeline

if TYPE_CHECKING:
    from eventsourcing_kafka.compose.stack.stack import Stack

COMMANDS = typer.Typer()

LOOK_AGAIN_SECONDS = 0.2

Data = Annotated[
    Path | None,
    typer.Option(help="The data folder, kept between runs. Without it: a temporary one."),
]


@COMMANDS.command()
def up(
    data: Data = None,
    file: PipelineFile = None,
    only: Annotated[
        str | None,
        typer.Option(
            help=f"Run only these parts, of: {', '.join(parts())}; or of the pipeline's. "
            f"{CASSANDRA.title()} runs only where it is named: {CASSANDRA}."
        ),
    ] = None,
    kafka_port: Annotated[int | None, typer.Option(help="Default: a free port.")] = None,
    postgres_port: Annotated[int | None, typer.Option(help="Default: a free port.")] = None,
    cassandra_port: Annotated[int | None, typer.Option(help="Default: a free port.")] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535 - len(services_of(SAMPLE)),
            envvar=PORT,
            help="Have the relay answer /metrics, /healthz and /readyz on this port, and the"
            " consumers on those after it. On this machine only.",
        ),
    ] = None,
    web_port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Of the web. Default: 8080, or a free port."),
    ] = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Start the stack and show its state until Ctrl-C.

    Without --data everything is on temporary data; without --only everything runs. The web is a
    part of it, on this machine only; its address is printed. With a pipeline it is that one that
    runs, once it is checked, and the window on it.

    Example: eventsourcing-kafka compose up --data ./data --only kafka,postgres

    Example: eventsourcing-kafka compose up --with shop/pipeline.toml

    Example: eventsourcing-kafka compose up --only cassandra
    """
    from eventsourcing_kafka.compose.servers import cassandra
    from eventsourcing_kafka.compose.servers.kafka import ready
    from eventsourcing_kafka.compose.stack.stack import Stack

    pipeline = found_pipeline(file) or SAMPLE
    if pipeline is not SAMPLE:
        check(pipeline)
    selected = _selected_parts(only, pipeline)
    start_logs(log_format)
    os.environ["LOG_FORMAT"] = log_format  # of the parts, which are processes of their own
    if "kafka" in selected:
        anyio.run(ready)  # has a display of its own
    if CASSANDRA in selected:
        cassandra.ready()
    stack = Stack(
        data,
        pipeline=pipeline,
        only=selected,
        kafka_port=kafka_port,
        postgres_port=postgres_port,
        metrics_port=metrics_port,
        web_port=web_port,
        cassandra_port=cassandra_port,
    )
    raise typer.Exit(anyio.run(_run, stack))


def _selected_parts(only: str | None, pipeline: Pipeline) -> Collection[str]:
    chosen = [name.strip() for name in only.split(",")] if only else parts(pipeline)
    try:
        return checked_parts(chosen, pipeline)
    except StackError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from None


async def _run(stack: Stack) -> int:
    """Run the stack until a signal comes; return the exit code."""
    from eventsourcing_kafka.compose.stack.display import show

    console = progress_console()
    kept = "removed at the end" if stack.temporary else "kept"
    console.print(f"Data in {stack.data}, {kept}. Ctrl-C stops everything.", soft_wrap=True)
    code, failure = INTERRUPTED, None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_on_signal, tasks.cancel_scope, console)
        tasks.start_soon(show, stack, console)
        try:
            async with stack:
                code = 0
                console.print('Point a shell at it: eval "$(eventsourcing-kafka compose env)"')
                await _print_address(stack.web_address, console)
                await anyio.sleep_forever()
        except StackError as error:
            failure = error
            tasks.cancel_scope.cancel()
    if failure:
        raise failure
    console.print("Stopped.")
    return code


async def _print_address(address: str | None, console: Console) -> None:
    """Print the address of the web, once it answers there."""
    if address is None:
        return
    host, _, port = address.removeprefix("http://").partition(":")
    while True:
        with suppress(OSError):
            async with await anyio.connect_tcp(host, int(port)):
                console.print(f"In a browser: {address}")
                return
        await anyio.sleep(LOOK_AGAIN_SECONDS)


async def _cancel_on_signal(scope: anyio.CancelScope, console: Console) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            console.print("Stopping.")
            scope.cancel()
            return


@COMMANDS.command()
def demo(
    repository: Annotated[Path, typer.Argument(help="A git repository on this machine.")] = Path(),
) -> None:
    """Stream the edit history of a git repository through Kafka into a search, and verify it.

    Example: eventsourcing-kafka compose demo ../some/repository
    """
    from eventsourcing_kafka.compose.servers.kafka import ready
    from eventsourcing_kafka.compose.stack.demo import demo as run_demo

    anyio.run(ready)  # has a display of its own
    raise typer.Exit(anyio.run(run_demo, repository, Console(highlight=False)))


@COMMANDS.command()
def env(
    data: WhichData = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Print the settings that point every command at the running stack.

    Example: eval "$(eventsourcing-kafka compose env)"
    """
    environment = running_environment(data)
    if as_json:
        typer.echo(json.dumps(environment, indent=2))
    else:
        for name, value in environment.items():
            typer.echo(f"export {name}={shlex.quote(value)}")


@COMMANDS.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=f"The tools: {', '.join(sorted(TOOLS))}.",
)
def kafka(
    tool: Annotated[str, typer.Argument(help="The tool; `TOOL --help` tells its options.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Handed on to the tool as they are.")
    ] = None,
    data: WhichData = None,
) -> None:
    """Run one of Kafka's own command-line tools against the running stack.

    Example: eventsourcing-kafka compose kafka topics --list

    Example: eventsourcing-kafka compose kafka consumer-groups --describe --all-groups

    Where Kafka is locked it connects as our own processes do, by the `KAFKA_…` settings.
    """
    from eventsourcing_kafka.compose.servers.kafka import tool_command

    set_here = not data and "KAFKA_BOOTSTRAP_SERVERS" in os.environ
    command = tool_command(
        tool,
        arguments or (),
        lambda: _kafka_of(stack_environment(data)),
        KafkaSettings.from_env(os.environ) if set_here else None,
    )
    os.execv(command[0], command)  # noqa: S606 - the tool gets our terminal, we its exit code


def _kafka_of(environment: Mapping[str, str]) -> str:
    try:
        return environment["KAFKA_BOOTSTRAP_SERVERS"]
    except KeyError:
        raise StackError("the stack runs without Kafka") from None
