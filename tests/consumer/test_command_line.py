"""The commands that show how far the pipeline is, and what it found."""

import json
import os
import sys
from subprocess import CompletedProcess

import anyio
import pytest

from eventsourcing_kafka.compose.stack.sample import APPLICATION
from tests.pipeline import ROOT, Pipeline

pytestmark = pytest.mark.usefixtures("programs")

SETTINGS = ("KAFKA_", "POSTGRES_", "CONTENTMANAGEMENT_", "FTS_", "PERSISTENCE_")


async def run(environment: dict[str, str], *arguments: str) -> CompletedProcess[bytes]:
    """Run a command of ours with these settings and no others."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return await anyio.run_process(
        [sys.executable, "-m", "eventsourcing_kafka", *arguments],
        check=False,
        env=ours | environment,
        cwd=ROOT,
    )


async def run_all(
    environment: dict[str, str], *commands: tuple[str, ...]
) -> list[CompletedProcess[bytes]]:
    results: dict[tuple[str, ...], CompletedProcess[bytes]] = {}

    async def keep(command: tuple[str, ...]) -> None:
        results[command] = await run(environment, *command)

    async with anyio.create_task_group() as running:
        for command in commands:
            running.start_soon(keep, command)
    return [results[command] for command in commands]


async def test_search_and_status_print_json_on_demand(environment: dict[str, str]) -> None:
    async with Pipeline(environment) as pipeline:
        originator_id = await pipeline.write("zebra", "a striped animal")
        await pipeline.settled()
        results = await run_all(
            environment,
            ("consumer", "search", "striped OR rose", "--json"),
            ("consumer", "status", "fts", "--json"),
            ("producer", "status", "--json"),
            ("consumer", "search", "striped"),
        )
        assert [result.returncode for result in results] == [0, 0, 0, 0], results
        *as_json, printed = (result.stdout for result in results)
        ((found,), rows, relay) = map(json.loads, as_json)
        assert (found["id"], found["slug"]) == (str(originator_id), "zebra")
        assert {row["partition"]: row["gap"] for row in rows} == dict.fromkeys(range(8), 0)
        assert max(row["position"] for row in rows) == relay["position"] == relay["head"]
        assert relay["gap"] == relay["lag_seconds"] == 0
        assert printed.splitlines()[-1] == b"1 to 1 of 1"


async def test_a_view_whose_database_is_lost_hides_no_other(environment: dict[str, str]) -> None:
    async with Pipeline(environment) as pipeline:
        await pipeline.write("zebra", "a striped animal")
        await pipeline.settled()
        without = environment | {"ACTIVITY_POSTGRES_DBNAME": "nope"}
        result = await run(without, "consumer", "status", "--json")
    assert result.returncode == 1
    assert {row["view"] for row in json.loads(result.stdout)} == {"fts"}
    where = f"Postgres at {environment['POSTGRES_HOST']}:{environment['POSTGRES_PORT']}/nope"
    (line,) = result.stderr.decode().splitlines()
    assert line == f'error: {where}: database "nope" does not exist'


@pytest.mark.parametrize("command", ["run", "status"])
async def test_an_unknown_view_is_an_error_that_names_those_there_are(
    environment: dict[str, str], command: str
) -> None:
    result = await run(environment, "consumer", command, "nowhere")
    assert result.returncode == 1
    assert result.stdout == b""
    assert result.stderr == (
        b"error: There is no view 'nowhere'. There are: activity, fts. "
        b"One that is not installed is named by where it is: module:VIEW\n"
    )


async def test_a_wrong_command_line_ends_with_two_and_a_missing_setting_with_one_line() -> None:
    usage, view, wiki = await run_all(
        {},
        ("consumer", "search"),
        ("consumer", "status", "fts"),
        ("producer", "status", "--application", APPLICATION),
    )
    assert usage.returncode == 2
    assert b"Missing argument" in usage.stderr
    for missing, setting in ((view, b"POSTGRES_DBNAME"), (wiki, b"PERSISTENCE_MODULE")):
        assert missing.returncode == 1
        (line,) = missing.stderr.splitlines()
        assert line.startswith(b"error: ")
        assert setting in line


async def test_a_search_before_any_consumer_ran_says_which_to_start(
    environment: dict[str, str],
) -> None:
    result = await run(environment, "consumer", "search", "rose")
    assert result.returncode == 1
    assert b"eventsourcing-kafka consumer run fts" in result.stderr
