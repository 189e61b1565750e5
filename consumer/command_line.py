"""The commands of the read side: `eventsourcing-kafka consumer --help`."""

from __future__ import annotations

from eventsourcing_kafka.consumer.operations.commands import parked
from eventsourcing_kafka.consumer.operations.commands.rebuild import rebuild
from eventsourcing_kafka.consumer.operations.commands.replay import replay
from eventsourcing_kafka.consumer.operations.commands.run import run
from eventsourcing_kafka.consumer.operations.commands.status import status
from eventsourcing_kafka.consumer.operations.commands.step import step
from eventsourcing_kafka.producer.runtime.cli import CommandLine, with_brought_commands

app = CommandLine(
    help="The read side: keep views up to date from Kafka, read them, see how far they are.\n\n"
    "A view is named module:VIEW; or by its name, if it is installed (as an entry point of "
    "eventsourcing_kafka.views).\n\n"
    "Settings are the eventsourcing library's, prefixed with the view's name "
    "(ORDERS_POSTGRES_DBNAME), and Kafka's (KAFKA_BOOTSTRAP_SERVERS, KAFKA_GROUP_PREFIX). "
    'Those of a stack on this machine: eval "$(eventsourcing-kafka compose env)"\n\n'
    "Example: eventsourcing-kafka consumer status",
    group=with_brought_commands("consumer"),
)
for command in (run, status, replay, rebuild, step):
    app.command()(command)
app.add_typer(parked.COMMANDS, name="parked")
