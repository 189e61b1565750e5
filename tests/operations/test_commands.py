"""The commands of operators, on a real Kafka, and poison of every kind in it."""

import json
import signal
import sys
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import typer
from aiokafka import AIOKafkaProducer

from eventsourcing_kafka.consumer.engine.parking import BEHIND
from eventsourcing_kafka.consumer.operations.redrive import parked_events
from eventsourcing_kafka.consumer.views.fts.search import search
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.runtime.output import confirm
from tests.consumer.test_command_line import run_all
from tests.pipeline import Pipeline, until

from .child import child
from .poison import POISONS, Event, Raw, record_of

TWO = {"KAFKA_TOPIC_PARTITIONS": "2", "KAFKA_SESSION_TIMEOUT_MS": "1500"}
FTS = ("--view", "fts")
REASON = ("--reason", "it was no event", "--by", "Ada")


async def produce(pipeline: Pipeline, *records: Raw) -> None:
    """Write records as any producer may."""
    topic = Topics.of("ContentManagement", pipeline.settings).events
    async with started(AIOKafkaProducer(**pipeline.settings.client())) as producer:
        for key, value, headers in records:
            await producer.send_and_wait(
                topic, value, key, partition=partition_of(key or b"", 2), headers=headers
            )


async def page_in(pipeline: Pipeline, partition: int, name: str) -> tuple[str, Any]:
    """Create a page of two events in a partition."""
    for number in range(50):
        slug = f"{name}-{number}"
        originator_id = await pipeline.write(slug, "one\n")
        if partition_of(str(originator_id).encode(), 2) == partition:
            return slug, originator_id
    raise AssertionError


async def has_no_gap(pipeline: Pipeline, partition: int) -> bool:
    await pipeline.published()
    return (await pipeline.trackings())[partition].offset == (await pipeline.ends())[partition]


def outcome(result: CompletedProcess[bytes]) -> tuple[int, str]:
    """Return the exit code, and what was printed, without line breaks."""
    return result.returncode, " ".join((result.stdout + result.stderr).decode().split())


async def test_poison_of_every_kind_in_kafka_is_parked_and_all_else_is_applied(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        other, _ = await page_in(pipeline, 1, "other")
        sick = [await page_in(pipeline, 0, f"sick{number}") for number in range(len(POISONS))]
        await pipeline.settled()
        poisons = []
        for poison, (_, originator_id) in zip(POISONS, sick, strict=True):
            position = await pipeline.do(pipeline.wiki.update_title, other, poison.name)
            event = Event(originator_id, 3, position, {"diff": "1c1\n< one\n---\n> strange\n"})
            poisons.append(poison.tamper(event))
        await produce(pipeline, *poisons)
        for slug, _ in sick:
            await pipeline.do(pipeline.wiki.update_body, slug, "two\n")

        await pipeline.settled()

        parked = await parked_events(pipeline.store)
        own = [event for event in parked if event.reason != BEHIND]
        assert sorted((event.key or b"", event.value or b"") for event in own) == sorted(
            (raw.key or b"", raw.value or b"") for raw in poisons
        )
        # Whatever they say, they are not of the chain: no aggregate waits for them.
        assert own == list(parked)
        assert await pipeline.pages() == await pipeline.expected_pages()
        found = await search(pipeline.store, "two", limit=100)
        assert len(found) == len(sick)
        assert not any(result.stale for result in found)


@pytest.mark.usefixtures("programs")
async def test_parked_events_are_listed_shown_dropped_and_tried_again_on_the_command_line(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        originator_id = await pipeline.write("page", "one\n")
        await pipeline.settled()
        async with pipeline.store.connected() as connection:
            await connection.execute(pipeline.store.sql("UPDATE {schema}.pages SET body = 'x'"))
        await pipeline.do(pipeline.wiki.update_body, "page", "two\n")
        await pipeline.do(pipeline.wiki.update_title, "page", "Two")
        await pipeline.settled()
        first, second = await parked_events(pipeline.store)
        aggregate = ("--aggregate", str(originator_id))

        listed, shown, unknown, unasked, unsaid, nobody, status = await run_all(
            pipeline.environment,
            ("consumer", "parked", "list", *FTS, "--json"),
            ("consumer", "parked", "show", f"{first.id}", *FTS),
            ("consumer", "parked", "show", "99", *FTS, "--json"),
            ("consumer", "parked", "drop", f"{first.id}", *FTS, *REASON),
            ("consumer", "parked", "retry"),
            ("consumer", "parked", "retry", "--aggregate", "nobody", *FTS),
            ("consumer", "status", "fts", "--json"),
        )
        lines = json.loads(listed.stdout)
        assert [line["id"] for line in lines] == [first.id, second.id]
        assert lines[0]["originator_id"] == str(originator_id)
        assert "DiffError" in outcome(shown)[1]
        assert "Traceback" in outcome(shown)[1]
        assert outcome(unknown) == (
            1,
            f"error: There is no parked event 99. There are: {first.id}, {second.id}.",
        )
        assert unasked.returncode == 2
        assert "say --yes" in outcome(unasked)[1]
        assert unsaid.returncode == 2
        assert outcome(nobody)[0] == 1
        assert f"Parked are: {originator_id}" in outcome(nobody)[1]
        assert sum(row["parked"] for row in json.loads(status.stdout)) == 2
        assert status.returncode == 0
        assert await parked_events(pipeline.store) == [first, second]

        for arguments, code, said in (
            (("retry", "--all"), 1, f"Parked event {first.id}"),
            (("drop", f"{first.id}", *REASON, "--yes"), 0, "is dropped"),
            (("dropped", "--json"), 0, '"dropped_by":"Ada","reason":"it was no event"'),
            (("retry", *aggregate), 0, f"{originator_id}: 1 applied"),
            (("retry", "--all"), 0, "nothing of fts is parked"),
        ):
            (result,) = await run_all(
                pipeline.environment, ("consumer", "parked", *arguments, *FTS)
            )
            assert result.returncode == code, outcome(result)
            assert said in outcome(result)[1]


@pytest.mark.usefixtures("programs")
async def test_replay_and_rebuild_ask_before_and_tell_what_there_is(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        page = str(await pipeline.write("page", "one\n", "two\n"))
        await pipeline.settled()
        records = {row.tracking.partition: row.records for row in await pipeline.progress()}
        before = await pipeline.pages()

        expected = (
            (("replay", "fts", "--dry-run"), 0, f"{sum(records.values())} records of 2 partitions"),
            (("replay", "fts", "--partition", "1", "--dry-run"), 0, f"{records[1]} records of 1 p"),
            (("replay", "fts", "--partition", "7", "--dry-run"), 1, "partition 7: it has 0 to 1"),
            (("replay", "activity", "--yes"), 1, "eventsourcing-kafka consumer run activity"),
            (("replay", "fts"), 2, "say --yes"),
            (("replay", "fts", "--aggregate", page, "--partition", "1"), 2, "leave --partition"),
            (("replay", "fts", "--aggregate", "", "--dry-run"), 1, "has nothing of ''"),
            (("step", "fts", "--aggregate", "no ID"), 1, "has nothing of 'no ID'"),
            (("rebuild", "fts"), 2, "say --yes"),
            (("rebuild", "fts", "--swap-back"), 2, "say --yes"),
            (("parked", "list", "--view", "nothing"), 1, "There are: activity"),
        )
        commands = [("consumer", *arguments) for arguments, _, _ in expected]
        results = await run_all(pipeline.environment, *commands)
        for result, (_, code, said) in zip(results, expected, strict=True):
            assert result.returncode == code, outcome(result)
            assert said in outcome(result)[1]
        assert await pipeline.pages() == before

        for arguments, said in (
            (("replay", "fts", "--yes"), "are applied again"),
            (("replay", "fts", "--aggregate", page, "--dry-run"), "3 events of"),
            (("replay", "fts", "--aggregate", page, "--yes"), "are applied again"),
            (("step", "fts", "--aggregate", page), "Page.BodyUpdated, version 3, position"),
            (("step", "fts", "--aggregate", page, "--until", "1", "--json"), '"version":1'),
            (("rebuild", "fts", "--keep", "--from", "outbox"), "the new generation is active"),
            (("rebuild", "fts", "--swap-back", "--yes"), "is active again"),
        ):
            (result,) = await run_all(pipeline.environment, ("consumer", *arguments))
            assert result.returncode == 0, outcome(result)
            assert said in outcome(result)[1]
            await pipeline.settled()
            assert await pipeline.pages() == before


@pytest.mark.usefixtures("programs")
async def test_a_view_as_it_was_is_made_shown_read_and_dropped_on_the_command_line(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        await pipeline.write("early", "word\n")
        await pipeline.settled()
        (head,) = {max(tracking.position for tracking in (await pipeline.trackings()).values())}
        time = datetime.now(UTC).isoformat()
        await pipeline.write("late", "word\n")
        await pipeline.settled()
        schema, later = f"fts_at_{head}", f"{datetime.now(UTC) + timedelta(hours=1):%FT%TZ}"

        expected = (
            (("--list",), 0, "There is no fts as it was. To make one: "),
            (("--until", str(head), "--keep"), 2, "leave --keep: it does not go with --until"),
            (("--until", "2026-01-31"), 2, "says no zone"),
            (("--until", ""), 2, "is neither a position"),
            (("--until", "999"), 1, "and 999 is beyond."),
            (("--until", later), 1, "is yet to come"),
            (("--until", time), 0, f"fts as it was at position {head} is in {schema}: read that,"),
            (("--until", str(head), "--json"), 0, f'"schema":"{schema}","position":{head},'),
            (("--list", "--json"), 0, f'[{{"schema":"{schema}","position":{head},"is_whole":true'),
            (("--list",), 0, schema),
            (("--drop", schema), 2, "say --yes"),
            (("--drop", "fts", "--yes"), 1, f"There are: {schema}."),
        )
        for arguments, code, said in expected:
            (result,) = await run_all(
                pipeline.environment, ("consumer", "rebuild", "fts", *arguments)
            )
            assert result.returncode == code, outcome(result)
            assert said in outcome(result)[1]

        reading = {**pipeline.environment, "FTS_POSTGRES_SCHEMA": schema}
        found, run = await run_all(
            reading, ("consumer", "search", "word", "--json"), ("consumer", "run", "fts")
        )
        assert [each["slug"] for each in json.loads(found.stdout)] == ["early"]
        assert run.returncode == 1
        assert f"What is in {schema} is fts as it was" in outcome(run)[1]
        (status,) = await run_all(pipeline.environment, ("consumer", "status", "fts"))
        (dropped,) = await run_all(
            pipeline.environment, ("consumer", "rebuild", "fts", "--drop", schema, "--yes")
        )
        assert f"{schema} is as it was at position {head}" in outcome(status)[1]
        assert outcome(dropped) == (0, f"fts: {schema} is dropped")


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("n", False), ("", False)])
def test_a_person_on_a_terminal_is_asked(
    monkeypatch: pytest.MonkeyPatch, answer: str, goes_on: bool
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    with nullcontext() if goes_on else pytest.raises(typer.Abort):
        confirm("Really?", yes=False)


@pytest.mark.usefixtures("programs")
async def test_a_partition_that_stops_shows_in_the_status_and_in_how_the_consumer_ends(
    environment: dict[str, str], tmp_path: Path
) -> None:
    command = ("run", "fts", "--on-error", "stop")
    async with Pipeline(environment | TWO, consumers=0) as pipeline:
        async with child(
            pipeline.environment,
            tmp_path / "log",
            "consumer",
            *command,
            module="eventsourcing_kafka",
        ) as it:
            _, sick_id = await page_in(pipeline, 0, "sick")
            other, _ = await page_in(pipeline, 1, "other")
            await pipeline.settled()
            await produce(pipeline, record_of(Event(sick_id, 3, 0, {})))
            await it.says("partition 0 has stopped before an event that can't be applied")
            await pipeline.do(pipeline.wiki.update_body, other, "two\n")
            await until(lambda: has_no_gap(pipeline, 1))
            (status,) = await run_all(pipeline.environment, ("consumer", "status", "fts", "--json"))
            assert status.returncode == 1
            stood, ran = (row["stopped"] for row in json.loads(status.stdout))
            assert (stood.partition(":")[0], ran) == ("WireError", None)
            assert [row["gap"] > 0 for row in json.loads(status.stdout)] == [True, False]
            it.send(signal.SIGTERM)
            assert await it.ends() == 1
            assert "fts, partition 0 had stopped" in it.said

        pipeline.start_consumer()
        await pipeline.settled()
        assert [row.stopped for row in await pipeline.progress()] == [None, None]
        assert len(await parked_events(pipeline.store)) == 1
