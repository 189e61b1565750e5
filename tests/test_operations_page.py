"""The operator's page is true: its commands do, as they stand there, what it says."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views import activity, fts
from tests.pages import Terminal, blocks
from tests.pipeline import ROOT, Pipeline

FILE = ROOT / "docs" / "OPERATIONS.md"
COMMANDS = [
    command for block in blocks(FILE) if block.language == "sh" for command in block.commands
]


@pytest.fixture
def unprefixed(environment: dict[str, str]) -> dict[str, str]:
    """The page names topics and groups without a prefix."""
    return {**environment, "KAFKA_TOPIC_PREFIX": "", "KAFKA_GROUP_PREFIX": ""}


async def applied_by(view: View, environment: dict[str, str]) -> None:
    """Have a consumer bring a view up to date, and stop."""
    async with Pipeline(environment, view=view) as pipeline:
        await pipeline.settled()


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 10
    assert all(Path(command.split()[0]).name == "eventsourcing-kafka" for command in COMMANDS)


@pytest.mark.timeout(400)  # Each command starts Python.
@pytest.mark.usefixtures("programs")
async def test_every_command_of_the_page_works_as_it_stands_there(
    unprefixed: dict[str, str],
) -> None:
    async with Pipeline(unprefixed, consumers=0) as pipeline:
        await pipeline.write("roses", "red\n", "white\n")
        await pipeline.published()
    await applied_by(fts.VIEW, unprefixed)
    await applied_by(activity.VIEW, unprefixed)

    with closing(Terminal(ROOT, {**os.environ, **unprefixed})) as terminal:
        printed = {command: terminal.type(command) for command in COMMANDS}

        (audit,) = (text for command, text in printed.items() if command.endswith("compose audit"))
        assert "unaltered" in audit
        await applied_by(activity.VIEW, unprefixed)
        terminal.type("eventsourcing-kafka compose audit activity")
