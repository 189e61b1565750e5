"""The installed command: `eventsourcing-kafka consumer …` is `python -m consumer …`."""

from compose.__main__ import app as compose
from consumer.__main__ import app as consumer
from producer.__main__ import app as producer
from producer.runtime.cli import CommandLine
from producer.runtime.terminal import run_commands

app = CommandLine(
    help="Streams the events of applications through Kafka into views, each exactly once. "
    "`eventsourcing-kafka consumer` is `python -m consumer`, and so with the others.\n\n"
    "Example: eventsourcing-kafka compose up",
    add_completion=True,
)
app.add_typer(producer, name="producer")
app.add_typer(consumer, name="consumer")
app.add_typer(compose, name="compose")


def main() -> None:
    """Run it."""
    run_commands(app)
