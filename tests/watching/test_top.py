"""One screen of how far everything is, that never shows what is no longer so."""

import io
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import anyio
import pytest
from msgspec.structs import replace
from rich.console import Console

from eventsourcing_kafka.compose.monitor.overview import Overview
from eventsourcing_kafka.compose.monitor.top import Top
from eventsourcing_kafka.compose.stack.details import opened_details
from eventsourcing_kafka.consumer.operations.commands.watch import watch
from eventsourcing_kafka.consumer.operations.status import PartitionStatus
from eventsourcing_kafka.producer.relay import RelayStatus, TopicStatus
from eventsourcing_kafka.producer.runtime.health import Down
from tests.consumer.test_command_line import run, run_all
from tests.pipeline import Pipeline, until

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
NOWHERE = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "PERSISTENCE_MODULE": "eventsourcing.postgres",
    "POSTGRES_HOST": "127.0.0.1",
    "POSTGRES_PORT": "1",
    "POSTGRES_DBNAME": "nothing",
    "POSTGRES_USER": "nobody",
    "POSTGRES_PASSWORD": "nothing",
}


def partition(
    number: int, records: int, *, gap: int = 0, owner: str | None = "ada-7 ::1"
) -> PartitionStatus:
    return PartitionStatus(
        "fts", number, records, records, records + gap, gap, 0.0, records, 0, 0, None, owner, None
    )


def overview(seconds: int, position: int, view: Sequence[PartitionStatus] | Down) -> Overview:
    return Overview(
        at=NOON + timedelta(seconds=seconds),
        heads={"Wiki": position + 3},
        relays={
            "Wiki": RelayStatus(
                "Wiki", "wiki.events", position, position + 3, 3, 1.5, owner="ada-5"
            )
        },
        topics={"Wiki": TopicStatus("wiki.events", 2, position, 1, [position // 2] * 2)},
        views={"fts": view},
    )


def screen(height: int = 40) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=110, height=height, color_system=None
    )


def lines(console: Console, *overviews: Overview) -> list[str]:
    """Return the screen after the last of some overviews."""
    top = Top(console)
    rendered = [top.render(each) for each in overviews][-1]
    with console.capture() as shown:
        console.print(rendered)
    return [" ".join(line.split()) for line in shown.get().splitlines() if line.strip()]


def test_gaps_owners_and_the_rates_since_an_earlier_reading_are_shown() -> None:
    before = overview(0, 100, [partition(0, 50), partition(1, 50)])
    now = overview(2, 300, [partition(0, 250, gap=7), partition(1, 50, owner=None)])

    shown = lines(screen(), before, now)

    assert "outbox of Wiki head 303 100/s" in shown
    assert "relay of Wiki position 300 of 303 gap 3 lag 1.5 s 100/s by ada-5" in shown
    assert "topic wiki.events 2 partitions 300 offsets 100/s 1 partitions lack replicas" in shown
    assert "view fts gap 7 lag 0.0 s 100/s 0 parked 1 consuming" in shown
    assert "0 250 7 0.0 s 100/s 0 ada-7 ::1" in shown
    assert "1 50 0 0.0 s 0/s 0 nobody" in shown


def test_who_reads_the_write_model_is_told() -> None:
    behind = replace(partition(0, 50, gap=7), from_write_model=True)

    shown = lines(screen(), overview(0, 100, [behind, partition(1, 50)]))

    assert "0 50 7 0.0 s 0 ada-7 ::1 write model" in shown
    assert "1 50 0 0.0 s 0 ada-7 ::1" in shown


def test_what_is_down_is_shown_as_down_with_no_figure_of_before() -> None:
    before = overview(0, 100, [partition(0, 50)])
    shown = lines(screen(), before, overview(1, 100, Down("no answer within 3 s")))

    assert [line for line in shown if "fts" in line or "50" in line] == [
        "view fts down: no answer within 3 s"
    ]


def test_a_rate_is_not_told_over_an_outage_or_a_replay() -> None:
    down = overview(0, 100, Down("gone"))
    prefetching, back = overview(1, 100, [partition(0, 50)]), overview(2, 100, [partition(0, 10)])

    assert "view fts gap 0 lag 0.0 s 0 parked 1 consuming" in lines(screen(), down, prefetching)
    assert "view fts gap 0 lag 0.0 s 0 parked 1 consuming" in lines(screen(), prefetching, back)


def test_of_more_partitions_than_fit_those_with_the_largest_gaps_are_shown() -> None:
    many = [partition(number, 10, gap=number % 10) for number in range(50)]

    shown = lines(screen(height=16), overview(0, 100, many))

    numbers = [int(line.split()[0]) for line in shown if "ada-7" in line]
    assert numbers == sorted(numbers)
    assert {9, 19, 29, 39, 49} <= set(numbers)
    assert f"and {50 - len(numbers)} more, with no larger gap" in shown
    assert len(shown) <= 16


async def test_a_reading_that_does_not_come_leaves_no_old_page() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, height=10)
    readings = iter(["all is well"])

    async def read() -> str:
        for reading in readings:
            return reading
        await anyio.sleep_forever()
        raise AssertionError

    async def shows(text: str) -> bool:
        return text in file.getvalue().rpartition("\x1b[H")[2]

    async with anyio.create_task_group() as tasks:
        pace = {"read_every": 0.0, "show_every": 0.01, "stale_seconds": 0.3}
        tasks.start_soon(partial(watch, read, str, console, **pace))
        await until(partial(shows, "all is well"))
        await until(partial(shows, "no answer for"))
        assert not await shows("all is well")
        tasks.cancel_scope.cancel()


@pytest.mark.usefixtures("programs")
async def test_without_a_terminal_it_is_printed_once_and_tells_what_is_down() -> None:
    top, status = await run_all(
        NOWHERE, ("compose", "top"), ("consumer", "status", "fts", "--watch")
    )

    assert top.returncode == 1
    for part in (
        b"outbox of ContentManagement",
        b"relay of ContentManagement",
        b"view fts",
        b"view activity",
    ):
        (line,) = (line for line in top.stdout.splitlines() if line.startswith(part))
        assert b"down: " in line
    assert status.returncode == 1
    assert status.stderr.startswith(b"error: ")


@pytest.mark.usefixtures("programs")
async def test_what_never_ran_is_told_from_what_has_nothing_to_do(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | {"KAFKA_TOPIC_PARTITIONS": "1"}) as pipeline:
        await pipeline.write("roses", "red\n")
        await pipeline.settled()
        commands = [("consumer", "status"), ("compose", "top")]
        named = await run_all(pipeline.environment, *((*each, "activity") for each in commands))
        ran = await run_all(pipeline.environment, *((*each, "fts") for each in commands))
        with opened_details(pipeline.environment) as details:
            never, runs = await details["consumer activity"](), await details["consumer fts"]()

    assert [result.returncode for result in (*named, *ran)] == [1, 1, 0, 0]
    assert b"activity has not run yet, though events are published" in named[0].stderr
    assert b"has not run yet" in named[1].stdout
    assert b"has not run yet" not in ran[1].stdout
    assert never.startswith("has not run yet, gap ")
    assert "records applied" in runs


@pytest.mark.usefixtures("programs")
async def test_what_has_no_topic_yet_has_not_run(environment: dict[str, str]) -> None:
    status, top = await run_all(
        environment, ("consumer", "status", "activity"), ("compose", "top", "activity")
    )
    with opened_details(environment) as details:
        detail = await details["consumer activity"]()

    assert status.returncode == 0
    assert detail == "has not run yet: there is no topic"
    assert b"has not run yet: there is no topic" in top.stdout


@pytest.mark.usefixtures("programs")
async def test_top_reads_what_is_so(environment: dict[str, str]) -> None:
    async with Pipeline(environment | {"KAFKA_TOPIC_PARTITIONS": "2"}) as pipeline:
        await pipeline.write("roses", "red\n")
        await pipeline.settled()
        result = await run(pipeline.environment, "compose", "top", "--json")
        ends = await pipeline.ends()

    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    relay, topic = (found[part]["ContentManagement"] for part in ("relays", "topics"))
    assert (relay["gap"], relay["position"]) == (0, relay["head"])
    assert found["heads"]["ContentManagement"] == relay["head"]
    assert relay["owner"].endswith(f"-{os.getpid()}")
    assert (topic["partitions"], topic["offsets"]) == (2, sum(ends.values()))
    assert topic["ends"] == [ends[0], ends[1]]
    assert {row["partition"]: row["offset"] for row in found["views"]["fts"]} == ends
    assert {
        row["owner"].endswith(f"-{os.getpid()} 127.0.0.1") for row in found["views"]["fts"]
    } == {True}
    assert {row["owner"] for row in found["views"]["activity"]} == {None}
