"""The command line: `eventsourcing-kafka compose --help`. Each room has its own commands."""

from __future__ import annotations

from eventsourcing_kafka.compose.audit.commands import COMMANDS as AUDIT
from eventsourcing_kafka.compose.monitor.commands import COMMANDS as MONITOR
from eventsourcing_kafka.compose.pipeline.commands import COMMANDS as PIPELINE
from eventsourcing_kafka.compose.runner.commands import COMMANDS as RUNNER
from eventsourcing_kafka.compose.security.commands import COMMANDS as SECURITY
from eventsourcing_kafka.compose.stack.commands import COMMANDS as STACK
from eventsourcing_kafka.compose.web.commands import COMMANDS as WEB
from eventsourcing_kafka.producer.runtime.cli import CommandLine

app = CommandLine(
    help="A real Kafka and a real Postgres, and the relay and the consumers on them, with nothing "
    "to install; any system of applications over Kafka; the audit of it all.\n\n"
    "Example: eventsourcing-kafka compose up --data ./data"
)
for commands in (STACK, PIPELINE, RUNNER, AUDIT, MONITOR, WEB, SECURITY):
    app.add_typer(commands)
