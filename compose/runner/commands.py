"""The command that runs a System over Kafka."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from anyio import to_thread

from eventsourcing_kafka.compose.runner.system import KafkaRunner, selected
from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.hosting.systems import (
    InMemoryError,
    Projected,
    edges_named,
    opened,
    projected_named,
    system_named,
)
from eventsourcing_kafka.consumer.operations.health import ViewHealth
from eventsourcing_kafka.consumer.operations.history import write_model_of
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.applications import wait_until_reachable
from eventsourcing_kafka.producer.runtime.logs import (
    LogFormat,
    LogFormatOption,
    complain,
    start_logs,
)
from eventsourcing_kafka.producer.runtime.metrics_server import (
    EVERYWHERE,
    MetricsHost,
    MetricsPort,
    listen_as_set,
    metrics_environment,
    serving_metrics,
)
from eventsourcing_kafka.producer.runtime.pipeline import (
    Follower,
    Pipeline,
    PipelineFile,
    System,
    found_pipeline,
    nearest,
    settings_with,
)
from eventsourcing_kafka.producer.runtime.process import run as run_async

COMMANDS = typer.Typer()


@COMMANDS.command("run")
def run_system(
    topic: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:NAME",
            help="The system, or the `Projected`; or what a pipeline calls it.",
        ),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run only this application of it; may be given several times."),
    ] = None,
    on_error: Annotated[
        OnError | None,
        typer.Option(
            help="An event that can't be applied is parked, with all of its aggregate after it; "
            "or its partition stops before it; or the command ends with the error.",
            show_default="what the pipeline says, or park",
        ),
    ] = None,
    file: PipelineFile = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = EVERYWHERE,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Run any `eventsourcing` System over Kafka, or a part or a projection, until Ctrl-C.

    Each application on its own machine: --only DogSchool here, --only Counters there. A projection
    needs no more than Kafka and the database of its view: the application, and its relay, are
    elsewhere.

    Example: eventsourcing-kafka compose run shop.packing:system

    Example: eventsourcing-kafka compose run shop.counts:counts

    Example: eventsourcing-kafka compose run Packing --with shop/pipeline.toml
    """
    start_logs(log_format)
    topic, said = _told(topic, found_pipeline(file))
    on_error = on_error or said
    environment = {**settings_with(file), **metrics_environment(metrics_port, metrics_host)}
    if projected := projected_named(topic):
        if only:
            raise typer.BadParameter("a projection has no parts", param_hint="--only")
        _run_projection(topic, projected, on_error, environment)
        return
    system = system_named(topic)
    applications = [system.get_app_cls(name) for name in selected(system, only)]
    if run_async(partial(wait_until_reachable, "the system", applications, environment)):
        runner = KafkaRunner(system, environment, only=only, on_error=on_error)
        try:
            run_async(partial(_run_until_cancelled, runner))
        finally:
            runner.stop()


def _told(called: str, pipeline: Pipeline | None) -> tuple[str, OnError]:
    """Return where something is, and what its pipeline says of errors; by its name, or its place.

    Raises `BadParameter` with what the pipeline has.
    """
    there: dict[str, Follower | System] = {}
    if pipeline:
        there = {**pipeline.followers, **pipeline.systems}
    for name, part in there.items():
        if called in {name, part.at}:
            return part.at, OnError(part.on_error)
    if ":" not in called and pipeline:
        raise typer.BadParameter(
            f"{pipeline.file} has no follower or system {called!r}{nearest(called, there)}",
            param_hint="MODULE:NAME",
        )
    return called, OnError.PARK


async def _run_until_cancelled(runner: KafkaRunner) -> None:
    # It applies events before it has started: a signal must not end the process there.
    await to_thread.run_sync(runner.start)
    await to_thread.run_sync(runner.run_forever, abandon_on_cancel=True)


def _run_projection(
    topic: str, projected: Projected, on_error: OnError, environment: dict[str, str]
) -> None:
    """Keep a projection up to date, with what comes from Kafka alone."""
    settings = KafkaSettings.from_env(environment)
    listener = listen_as_set(environment)
    classes = [projected.projection_class]
    if not run_async(partial(wait_until_reachable, "the projection", classes, environment)):
        return
    with opened(edges_named(topic), environment) as (store,):
        if not store.capabilities.reachable:
            raise InMemoryError(store.view.name)
        write_model = write_model_of(store.view, environment, projected.application_class)
        consumer = Consumer(store, settings, on_error=on_error, write_model=write_model)

        async def main() -> None:
            async with serving_metrics([ViewHealth(consumer, settings)], listener):
                await consumer.run()

        run_async(main)
    if consumer.stopped:
        complain(f"{store.view.name} had stopped: eventsourcing-kafka consumer status says why")
        raise typer.Exit(1)
