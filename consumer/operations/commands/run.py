"""`eventsourcing-kafka consumer run`: keeps views up to date."""

from __future__ import annotations

from typing import Annotated

import anyio
import typer

from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.followers import followers_of
from eventsourcing_kafka.consumer.operations.commands.stores import WHICH, complete_view
from eventsourcing_kafka.consumer.operations.health import ViewHealth
from eventsourcing_kafka.consumer.operations.history import write_model_of
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.logs import (
    LogFormat,
    LogFormatOption,
    complain,
    message_of,
    start_logs,
)
from eventsourcing_kafka.producer.runtime.metrics_server import (
    EVERYWHERE,
    MetricsHost,
    MetricsPort,
    listen,
    serving_metrics,
)
from eventsourcing_kafka.producer.runtime.pipeline import (
    PipelineFile,
    View,
    found_pipeline,
    settings_with,
)
from eventsourcing_kafka.producer.runtime.process import run as run_async
from eventsourcing_kafka.producer.runtime.retry import first_error


def run(
    names: Annotated[
        list[str],
        typer.Argument(metavar="VIEW…", help=f"Which views. {WHICH}", autocompletion=complete_view),
    ],
    on_error: Annotated[
        OnError | None,
        typer.Option(
            help="An event that can't be applied is parked, with all of its aggregate after it; "
            "or its partition stops before it; or the view ends with the error.",
            show_default="what the pipeline says, or park",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Records in one Postgres transaction, at most.")
    ] = 5000,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds that a batch has to finish when told to stop.")
    ] = 10.0,
    instance: Annotated[
        str | None,
        typer.Option(
            help="A name for this consumer that no other has and that it keeps over restarts: "
            "its partitions then wait for it (Kafka's static membership)."
        ),
    ] = None,
    file: PipelineFile = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = EVERYWHERE,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Keep views up to date until it is stopped.

    Start it as often as you like, on any machine: the consumers of a view share its partitions.
    Views in one process have each their own group, transactions and failures.

    Example: eventsourcing-kafka consumer run shop.views:ORDERS shop.views:SALES

    Example: eventsourcing-kafka consumer run shop.views:ORDERS --metrics-port 9101
    """
    start_logs(log_format)
    listener = listen(metrics_port, metrics_host)
    pipeline, env = found_pipeline(file), settings_with(file)
    settings = KafkaSettings.from_env(env)
    followers = followers_of(names, pipeline=pipeline)
    if followers.edges:
        name, edge = next(iter(followers.edges.items()))
        raise SettingsError(
            f"{name} is no view, but a follower: eventsourcing-kafka compose run {edge.topic}"
        )
    said = pipeline.views if pipeline else {}
    consumers = {
        view.name: Consumer(
            ViewStore.of(view, env),
            settings,
            on_error=on_error or _said(said.get(view.name)),
            limit=batch_size,
            grace=grace,
            instance=instance,
            write_model=write_model_of(view, env),
        )
        for view in followers.views
    }
    failures: dict[str, Exception] = {}

    async def keep(name: str) -> None:
        try:
            await consumers[name].run()
        except Exception as error:  # noqa: BLE001 - the other views go on
            failures[name] = error
            complain(f"view {name} has ended: {message_of(first_error(error))}")

    async def main() -> None:
        parts = [ViewHealth(consumer, settings) for consumer in consumers.values()]
        async with serving_metrics(parts, listener), anyio.create_task_group() as running:
            for name in consumers:
                running.start_soon(keep, name, name=name)

    run_async(main)
    stopped = {name: consumer.stopped for name, consumer in consumers.items() if consumer.stopped}
    for name, reasons in stopped.items():
        says_why = f"eventsourcing-kafka consumer status {consumers[name].store.view.arguments}"
        for partition in reasons:
            complain(f"{name}, partition {partition} had stopped: {says_why} says why")
    if failures or stopped:
        raise typer.Exit(1)


def _said(part: View | None) -> OnError:
    """Return what a pipeline says of errors in a view."""
    return OnError(part.on_error) if part else OnError.PARK
