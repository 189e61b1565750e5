"""The operator's page is true: its commands do, as they stand there, what it says."""

import os
import re
from pathlib import Path

import anyio
import pytest

from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views import activity, fts
from tests.pages import blocks, path
from tests.pipeline import ROOT, Pipeline

FILE = ROOT / "docs" / "OPERATIONS.md"
PAGE = FILE.read_text()
COMMANDS = [
    command for block in blocks(FILE) if block.language == "sh" for command in block.commands
]
SECTIONS = set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE))


@pytest.fixture
def unprefixed(environment: dict[str, str]) -> dict[str, str]:
    """The page names topics and groups without a prefix."""
    return {**environment, "KAFKA_TOPIC_PREFIX": "", "KAFKA_GROUP_PREFIX": ""}


async def applied_by(view: View, environment: dict[str, str]) -> None:
    """Have a consumer bring a view up to date, and stop."""
    async with Pipeline(environment, view=view) as pipeline:
        await pipeline.settled()


async def run(command: str, environment: dict[str, str]) -> str:
    done = await anyio.run_process(
        ["sh", "-c", command],
        cwd=ROOT,
        env={**os.environ, **environment, "PATH": path()},
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    return done.stdout.decode()


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 10
    assert all(Path(command.split()[0]).name == "eventsourcing-kafka" for command in COMMANDS)


def test_the_links_of_the_page_lead_somewhere() -> None:
    anchors = {re.sub(r"[^\w\s-]", "", section).lower().replace(" ", "-") for section in SECTIONS}
    assert set(re.findall(r"\(#([\w-]+)\)", PAGE)) <= anchors


async def test_every_command_of_the_page_works_as_it_stands_there(
    unprefixed: dict[str, str],
) -> None:
    async with Pipeline(unprefixed, consumers=0) as pipeline:
        await pipeline.write("roses", "red\n", "white\n")
        await pipeline.published()
    await applied_by(fts.VIEW, unprefixed)
    await applied_by(activity.VIEW, unprefixed)

    printed = {command: await run(command, unprefixed) for command in COMMANDS}

    (audit,) = (text for command, text in printed.items() if command.endswith("compose audit"))
    assert "unaltered" in audit
    await applied_by(activity.VIEW, unprefixed)
    await run("eventsourcing-kafka compose audit activity", unprefixed)
