"""The commands of the write side: `eventsourcing-kafka producer --help`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from eventsourcing.dcb.application import DCBApplication
from rich.console import Console
from rich.table import Table

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import Relay, RelayHealth, read_risks, read_status
from eventsourcing_kafka.producer.runtime.applications import (
    ApplicationName,
    ApplicationTopic,
    chosen,
    open_to_read,
    open_when_reachable,
)
from eventsourcing_kafka.producer.runtime.cli import CommandLine, finished, with_brought_commands
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.logs import LogFormat, LogFormatOption, start_logs
from eventsourcing_kafka.producer.runtime.metrics_server import (
    EVERYWHERE,
    MetricsHost,
    MetricsPort,
    listen,
    serving_metrics,
)
from eventsourcing_kafka.producer.runtime.pipeline import (
    PipelineFile,
    found_pipeline,
    settings_with,
)
from eventsourcing_kafka.producer.runtime.process import run
from eventsourcing_kafka.producer.schema.command import publish_schema
from eventsourcing_kafka.producer.wire import wire_of
from eventsourcing_kafka.producer.wire.tagged import PARTITION_BY_TAG

app = CommandLine(
    help="The write side: publish an application's events to Kafka, and see how far that is.\n\n"
    "Settings are the eventsourcing library's (PERSISTENCE_MODULE, POSTGRES_…) and Kafka's "
    "(KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC_PREFIX, KAFKA_TOPIC_PARTITIONS). "
    'Those of a stack on this machine: eval "$(eventsourcing-kafka compose env)"\n\n'
    "Example: eventsourcing-kafka producer relay -a shop.application:Shop",
    group=with_brought_commands("producer"),
)

Decrypt = Annotated[
    bool,
    typer.Option(help="Publish the events of an application that encrypts them as plain JSON."),
]

PartitionByTag = Annotated[
    str | None,
    typer.Option(
        metavar="PREFIX",
        help="Of an application with tagged decisions: key each event by its one tag that begins "
        "so, and order those of one tag. Without it the order of all is kept, in one partition.",
    ),
]


app.command("schema")(publish_schema)


@app.command()
def relay(
    application: ApplicationTopic = None,
    name: ApplicationName = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Notifications in one Kafka transaction, at most.")
    ] = 2000,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds that a batch in hand has when told to stop.")
    ] = 10.0,
    decrypt: Decrypt = False,
    partition_by_tag: PartitionByTag = None,
    file: PipelineFile = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = EVERYWHERE,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Publish the events of an application to Kafka, each once, until it is stopped.

    It goes on from the position that its last Kafka transaction recorded. Of several relays for
    one application one publishes; the others wait, and one takes over when it ends.

    It needs none of the application's code, but for a mapper or a transcoder of its own.

    Tagged decisions have no aggregate: the order of all is kept, or with --partition-by-tag that of
    those with the same tag. Other commands are told so by the setting PARTITION_BY_TAG.

    Example: eventsourcing-kafka producer relay -a shop.application:Shop

    Example: eventsourcing-kafka producer relay --name Shop --metrics-port 9100

    Example: eventsourcing-kafka producer relay -a Shop --with shop/pipeline.toml
    """
    pipeline, environment = found_pipeline(file), dict(settings_with(file))
    cls = chosen(application, name, environment, pipeline)
    if pipeline and cls.name in pipeline.applications:
        decrypt = decrypt or pipeline.applications[cls.name].decrypt
    start_logs(log_format)
    listener = listen(metrics_port, metrics_host)
    settings = KafkaSettings.from_env(environment)
    if partition_by_tag is not None:
        if not issubclass(cls, DCBApplication):
            raise typer.BadParameter(
                f"{cls.name} has no tagged decisions: its records are keyed by their aggregates",
                param_hint="--partition-by-tag",
            )
        environment[f"{cls.name.upper()}_{PARTITION_BY_TAG}"] = partition_by_tag

    async def main() -> None:
        with await open_when_reachable(cls, environment) as source:
            outbox = outbox_of(source, limit=batch_size)
            wire = wire_of(source, decrypt=decrypt)
            if decrypt and wire.encrypted:
                raise SettingsError(
                    f"What {cls.name} stores can't be published decrypted: a mapper or a "
                    "transcoder of its own makes it, so it is published as it is stored."
                )
            publishing = Relay(outbox, wire, settings, grace=grace)
            async with serving_metrics([RelayHealth(publishing, outbox, wire, settings)], listener):
                await publishing.run()

    run(main)


@app.command()
def status(
    application: ApplicationTopic = None,
    name: ApplicationName = None,
    file: PipelineFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show up to where the events of an application are published.

    The gap is in positions, the lag in seconds: the age of the oldest event not yet published. The
    owner is the relay that has its turn; without one nothing more is published. Settings of the
    topics that may lose events are named, with what to do. If the next event can't be published it
    says why, and exits with 1.

    Example: eventsourcing-kafka producer status -a shop.application:Shop --json

    Example: eventsourcing-kafka producer status -a Shop --with shop/pipeline.toml
    """
    environment = settings_with(file)
    cls = chosen(application, name, environment, found_pipeline(file))
    with finished(lambda: open_to_read(cls, environment)) as source:
        outbox, wire = outbox_of(source, limit=1), wire_of(source, decrypt=True)
        settings = KafkaSettings.from_env(environment)
        found = finished(lambda: read_status(outbox, wire, settings))
        risks = finished(lambda: read_risks(wire.application_name, settings))
    fields = msgspec.structs.asdict(found)
    if as_json:
        typer.echo(msgspec.json.encode({**fields, "risks": risks}))
        raise typer.Exit(1 if found.problem else 0)
    problem = fields.pop("problem")
    table = Table(*fields)
    table.add_row(*map(_cell, fields.values()))
    Console().print(table)
    for each in filter(None, [problem, *risks]):
        typer.echo(each)
    if problem:
        raise typer.Exit(1)


def _cell(value: object) -> str:
    match value:
        case None:
            return "nobody"
        case float():
            return f"{value:.1f}"
        case _:
            return str(value)
