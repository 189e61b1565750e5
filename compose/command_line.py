"""The command line: `eventsourcing-kafka compose --help`.

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
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec
import typer
from anyio import to_thread
from rich.console import Console

from eventsourcing_kafka.compose.audit.audit import FULL_FINDINGS
from eventsourcing_kafka.compose.audit.command import audit_and_show
from eventsourcing_kafka.compose.grants import acls, as_commands, as_script, grants
from eventsourcing_kafka.compose.runner import KafkaRunner
from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.servers.tools import TOOLS
from eventsourcing_kafka.compose.stack.parts import SERVICES, checked_parts, parts
from eventsourcing_kafka.consumer.hosting.systems import system_named
from eventsourcing_kafka.consumer.operations.commands.stores import SystemTopic
from eventsourcing_kafka.consumer.operations.commands.watch import watch
from eventsourcing_kafka.consumer.views.registry import views
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.applications import wait_until_reachable
from eventsourcing_kafka.producer.runtime.cli import (
    INTERRUPTED,
    CommandLine,
    finished,
    progress_console,
)
from eventsourcing_kafka.producer.runtime.logs import LogFormat, LogFormatOption, start_logs
from eventsourcing_kafka.producer.runtime.metrics_server import (
    EVERYWHERE,
    PORT,
    MetricsHost,
    MetricsPort,
    metrics_environment,
)
from eventsourcing_kafka.producer.runtime.process import run as run_async

if TYPE_CHECKING:
    from eventsourcing_kafka.compose.stack.stack import RunningStack, Stack

app = CommandLine(
    help="A real Kafka and a real Postgres, and the relay and the consumers on them, with nothing "
    "to install; any system of applications over Kafka; the audit of it all.\n\n"
    "Example: eventsourcing-kafka compose up --data ./data"
)

LOOK_AGAIN_SECONDS = 0.2

Data = Annotated[
    Path | None,
    typer.Option(help="The data folder, kept between runs. Without it: a temporary one."),
]
WhichData = Annotated[
    Path | None, typer.Option("--data", help="The data folder of the stack, if several run.")
]


@app.command()
def up(
    data: Data = None,
    only: Annotated[
        str | None, typer.Option(help=f"Run only these parts, of: {', '.join(parts())}.")
    ] = None,
    kafka_port: Annotated[int | None, typer.Option(help="Default: a free port.")] = None,
    postgres_port: Annotated[int | None, typer.Option(help="Default: a free port.")] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535 - len(SERVICES),
            envvar=PORT,
            help="Have the relay answer /metrics, /healthz and /readyz on this port, and the"
            " consumers on those after it. On this machine only.",
        ),
    ] = None,
    web_port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Of the wiki. Default: 8080, or a free port."),
    ] = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Start the stack and show its state until Ctrl-C.

    Without --data everything is on temporary data; without --only everything runs. The wiki in a
    browser is a part of it, on this machine only; its address is printed.

    Example: eventsourcing-kafka compose up --data ./data --only kafka,postgres
    """
    from eventsourcing_kafka.compose.servers.kafka import ready
    from eventsourcing_kafka.compose.stack.stack import Stack

    chosen = _chosen_parts(only)
    start_logs(log_format)
    os.environ["LOG_FORMAT"] = log_format  # of the parts, which are processes of their own
    if "kafka" in chosen:
        anyio.run(ready)  # has a display of its own
    stack = Stack(
        data,
        only=chosen,
        kafka_port=kafka_port,
        postgres_port=postgres_port,
        metrics_port=metrics_port,
        web_port=web_port,
    )
    raise typer.Exit(anyio.run(_run, stack))


def _chosen_parts(only: str | None) -> Collection[str]:
    try:
        return checked_parts([name.strip() for name in only.split(",")] if only else parts())
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
                await _tell_address(stack.web_address, console)
                await anyio.sleep_forever()
        except StackError as error:
            failure = error
            tasks.cancel_scope.cancel()
    if failure:
        raise failure
    console.print("Stopped.")
    return code


async def _tell_address(address: str | None, console: Console) -> None:
    """Print the address of the wiki, once it answers there."""
    if address is None:
        return
    host, _, port = address.removeprefix("http://").partition(":")
    while True:
        with suppress(OSError):
            async with await anyio.connect_tcp(host, int(port)):
                console.print(f"The wiki is at {address}")
                return
        await anyio.sleep(LOOK_AGAIN_SECONDS)


async def _cancel_on_signal(scope: anyio.CancelScope, console: Console) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            console.print("Stopping.")
            scope.cancel()
            return


@app.command("run")
def run_system(
    topic: Annotated[str, typer.Argument(metavar="MODULE:SYSTEM", help="The system.")],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run only this application of it; may be given several times."),
    ] = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = EVERYWHERE,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Run any `eventsourcing` System over Kafka, or a part of it, until Ctrl-C.

    Each application on its own machine: --only DogSchool here, --only Counters there.

    Example: eventsourcing-kafka compose run examples.counters.system:system
    """
    start_logs(log_format)
    environment = {**os.environ, **metrics_environment(metrics_port, metrics_host)}
    system = system_named(topic)
    runner = KafkaRunner(system, environment, only=only)
    applications = [system.get_app_cls(name) for name in only or system.nodes]
    if run_async(partial(wait_until_reachable, "the system", applications, environment)):
        with runner:
            run_async(partial(to_thread.run_sync, runner.run_forever, abandon_on_cancel=True))


@app.command()
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


@app.command()
def audit(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[VIEW]…", help="Which views; all without.")
    ] = None,
    system: SystemTopic = None,
    limit: Annotated[int, typer.Option(min=0, help="Findings to show in full.")] = FULL_FINDINGS,
    decrypt: Annotated[
        bool, typer.Option(help="The relay publishes encrypted events as plain JSON.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    data: WhichData = None,
) -> None:
    """Compare the write model, the topic and the views, position by position.

    Everything may run meanwhile. The exit code is 1 if anything is found.

    Of a system it compares every leader with its topic, and the tracking of every follower in
    Postgres with that. What a follower has recorded is not compared: only its policy knows what
    that must be.

    Example: eventsourcing-kafka compose audit fts

    Example: eventsourcing-kafka compose audit --system examples.counters.system:system
    """
    environment = _environment(data)
    report = finished(
        lambda: audit_and_show(
            environment,
            names or (),
            system=system,
            limit=limit,
            decrypt=decrypt,
            as_json=as_json,
        )
    )
    raise typer.Exit(0 if report.clean else 1)


def _environment(data: Path | None) -> Mapping[str, str]:
    """Return the settings of the stack that is meant: of this shell, or of a running one."""
    if not data and "KAFKA_BOOTSTRAP_SERVERS" in os.environ:
        return os.environ
    return _running_stack(data).environment


def _running_stack(data: Path | None) -> RunningStack:
    from eventsourcing_kafka.compose.stack.stack import running_stack

    return running_stack(data)


@app.command()
def top(
    system: SystemTopic = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, once.")] = False,
    data: WhichData = None,
) -> None:
    """Show how far everything is, on one screen, until Ctrl-C.

    Relay, topic, and each view with its partitions: who has them, their gaps, lags and rates, and
    what is parked. What can't be read is shown as down. Without a terminal it is printed once;
    then the exit code is 1 if anything is down, or has stopped.

    Example: eventsourcing-kafka compose top
    """
    from eventsourcing_kafka.compose.monitor.overview import opened_sources
    from eventsourcing_kafka.compose.monitor.top import Top

    with opened_sources(_environment(data), system) as sources:
        console = Console(highlight=False)
        if console.is_terminal and not as_json:
            finished(partial(watch, sources.read, Top(console).render, console))
        standing = finished(sources.read)
    if as_json:
        typer.echo(msgspec.json.encode(standing))
    else:
        console.print(Top(console).render(standing))
    raise typer.Exit(0 if standing.well else 1)


@app.command()
def web(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where it listens; 0: on a free one.")
    ] = 8080,
    host: Annotated[
        str, typer.Option(help="On which address; 0.0.0.0 lets others reach it.")
    ] = "127.0.0.1",
    anybody: Annotated[
        bool, typer.Option("--anybody", help="Let others in, under any name; no operators then.")
    ] = False,
    secure: Annotated[
        bool, typer.Option("--secure", help="Sessions over HTTPS only: behind a proxy.")
    ] = False,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Believe what a proxy at this address, or network, says of who asks;"
            " may be given several times.",
        ),
    ] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="Log every request.")] = False,
    data: WhichData = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Show the wiki in a browser, to be read, searched and edited, until Ctrl-C.

    A name is enough to sign in, so it is for a machine of your own: it listens there only, unless
    told otherwise. Who signs in as `operator`, or as one of WEB_OPERATORS, is an operator.
    It answers under this machine's own names, any address, and those of WEB_HOSTS.

    WEB_SECRET, or a file that WEB_SECRET_FILE names, signs the sessions; without it they end with
    the program.

    Example: eventsourcing-kafka compose web --port 8080

    For others: with WEB_OIDC_ISSUER, WEB_OIDC_CLIENT_ID and WEB_OIDC_CLIENT_SECRET of a provider
    that knows who it is, WEB_URL as browsers see it, and a proxy that speaks HTTPS:

    Example: eventsourcing-kafka compose web --secure --proxy 127.0.0.1
    """
    from eventsourcing_kafka.compose.web.serving import checked_settings, listening, serve
    from eventsourcing_kafka.compose.web.settings import session_secret

    start_logs(log_format)
    settings = checked_settings(os.environ, host, proxied=bool(proxy) or secure, anybody=anybody)
    secret, environment = session_secret(os.environ), _environment(data)
    served = partial(
        serve,
        environment,
        settings,
        listening(host, port),
        secret=secret,
        secure=secure,
        proxies=proxy or (),
        access_log=access_log,
    )
    run_async(served)


@app.command()
def env(
    data: WhichData = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Print the settings that point every command at the running stack.

    Example: eval "$(eventsourcing-kafka compose env)"
    """
    environment = _running_stack(data).environment
    if as_json:
        typer.echo(json.dumps(environment, indent=2))
    else:
        for name, value in environment.items():
            typer.echo(f"export {name}={shlex.quote(value)}")


@app.command(
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
        lambda: _kafka_of(_environment(data)),
        KafkaSettings.from_env(os.environ) if set_here else None,
    )
    os.execv(command[0], command)  # noqa: S606 - the tool gets our terminal, we its exit code


class Locked(StrEnum):
    """What grants are for."""

    KAFKA = "kafka"
    POSTGRES = "postgres"


@app.command("grants")
def print_grants(
    server: Annotated[Locked, typer.Argument(help="For which of the two.")],
    rebuild: Annotated[
        bool, typer.Option(help="With what `eventsourcing-kafka consumer rebuild` needs besides.")
    ] = False,
) -> None:
    """Print what relay, views and readers may do, and no more: as commands, or as SQL.

    It changes nothing by itself. Who may grant that pipes it
    to a shell, or to psql.

    Example: eventsourcing-kafka compose grants kafka
    """
    match server:
        case Locked.KAFKA:
            lines = as_commands(acls(ContentManagement, views(), os.environ, rebuild=rebuild))
        case Locked.POSTGRES:
            lines = as_script(grants(ContentManagement, views(), os.environ, rebuild=rebuild))
    for line in lines:
        typer.echo(line)


def _kafka_of(environment: Mapping[str, str]) -> str:
    try:
        return environment["KAFKA_BOOTSTRAP_SERVERS"]
    except KeyError:
        raise StackError("the stack runs without Kafka") from None
