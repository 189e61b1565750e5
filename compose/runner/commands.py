"""The command that runs a System over Kafka."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

import typer
from anyio import to_thread

from eventsourcing_kafka.compose.runner.system import KafkaRunner
from eventsourcing_kafka.consumer.hosting.systems import system_named
from eventsourcing_kafka.producer.runtime.applications import wait_until_reachable
from eventsourcing_kafka.producer.runtime.logs import LogFormat, LogFormatOption, start_logs
from eventsourcing_kafka.producer.runtime.metrics_server import (
    EVERYWHERE,
    MetricsHost,
    MetricsPort,
    metrics_environment,
)
from eventsourcing_kafka.producer.runtime.process import run as run_async

COMMANDS = typer.Typer()


@COMMANDS.command("run")
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
