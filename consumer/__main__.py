"""The commands of the read side: `python -m consumer --help`."""

from __future__ import annotations

from consumer.operations.commands import operate, parked
from consumer.views.registry import view_commands
from producer.runtime.cli import CommandLine
from producer.runtime.terminal import run_commands

app = CommandLine(
    help="The read side: keep views up to date from Kafka, read them, see how far they are.\n\n"
    "Settings are the eventsourcing library's, prefixed with the view's name "
    "(FTS_POSTGRES_DBNAME), and Kafka's (KAFKA_BOOTSTRAP_SERVERS, KAFKA_GROUP_PREFIX). "
    'Those of a stack on this machine: eval "$(python -m compose env)"\n\n'
    "Example: python -m consumer status",
)
app.add_typer(operate.COMMANDS)
app.add_typer(parked.COMMANDS, name="parked")
for commands in view_commands():
    app.add_typer(commands)


if __name__ == "__main__":
    run_commands(app)
