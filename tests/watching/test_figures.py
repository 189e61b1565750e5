"""What Prometheus reads of a relay and a consumer that run, on a real Kafka and Postgres."""

import re

from eventsourcing.postgres import PostgresApplicationRecorder
from psycopg import sql

from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.operations.replay import replay_view
from eventsourcing_kafka.producer.runtime.metrics import PREFIX
from tests.operations.poison import Raw
from tests.operations.test_commands import produce
from tests.outbox.writers import Table
from tests.pipeline import ROOT, Pipeline

from .asking import Watcher, asked, running, watched_relay, watched_view

PARTITIONS = {"KAFKA_TOPIC_PARTITIONS": "2"}
OF_ONE_PROCESS = ("relay_published", "view_records", "view_guard_mismatches", "view_replays")
BAD_RECORD = Raw(b"nobody", b"no event", [("ce_id", b"\xff")])


async def counted(watcher: Watcher) -> dict[str, float]:
    """Return what is counted: other tests of this process count, too."""
    told = await watcher.told()
    return {name: told.figure(f"{name}_total") or 0.0 for name in OF_ONE_PROCESS}


async def growth(watcher: Watcher, before: dict[str, float]) -> dict[str, float]:
    return {name: after - before[name] for name, after in (await counted(watcher)).items()}


async def test_what_is_published_and_applied_is_counted_and_the_standing_is_that_of_the_servers(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | PARTITIONS, consumers=0, relay=False) as pipeline:
        relay, first = watched_relay(pipeline)
        consumer, second = watched_view(pipeline)
        async with asked(first, second) as watcher:
            assert await watcher.verdict("/readyz") == (503, ["there is no topic yet"])
            before = await counted(watcher)
            parked_before = await watcher.figure("view_records_total", outcome="parked") or 0
            await pipeline.write("roses", "red\n", "white\n")
            head = pipeline.wiki.recorder.max_notification_id()
            assert head
            assert await watcher.figure("relay_gap") == head
            assert await watcher.figure("relay_publishing") == 0

            async with running(relay.run, consumer.run):
                await pipeline.settled()
                await watcher.reads("view_owned", 2)
                assert await watcher.finds(200, "/readyz") == []
                assert await growth(watcher, before) == {
                    "relay_published": head,
                    "view_records": head,
                    "view_guard_mismatches": 0,
                    "view_replays": 0,
                }
                ends, told = await pipeline.ends(), await watcher.told()
                for partition, end in ends.items():
                    of = {"view": "fts", "partition": str(partition)}
                    assert told.figure("view_offset", **of) == end
                    assert told.figure("view_head", **of) == end
                    assert told.figure("view_gap", **of) == 0
                for name, expected in (("position", head), ("head", head), ("publishing", 1)):
                    assert told.figure(f"relay_{name}") == expected

                await replay_view(pipeline.store)
                await pipeline.settled()
                found = await growth(watcher, before)
                assert found["view_guard_mismatches"] >= 1
                assert found["view_replays"] == len([end for end in ends.values() if end])

                await produce(pipeline, BAD_RECORD)
                await watcher.reads("view_parked", 1)
                await watcher.reads("view_records_total", parked_before + 1, outcome="parked")

            await watcher.reads("view_owned", 0)


async def test_a_hole_that_may_yet_be_filled_is_a_gap_and_a_lag(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | PARTITIONS, consumers=0, relay=False) as pipeline:
        relay, watched = watched_relay(pipeline)
        recorder = pipeline.wiki.recorder
        assert isinstance(recorder, PostgresApplicationRecorder)
        table = Table(recorder)
        await pipeline.write("roses", "red\n")
        async with asked(watched) as watcher, running(relay.run):
            await pipeline.published()
            position = await watcher.figure("relay_position")
            assert position

            async with table.connection() as writer, table.connection(autocommit=True) as other:
                await table.insert(writer)  # Takes a position, and commits it never.
                await other.execute(AGAIN.format(table=table.name))

                told = await watcher.told()
                assert told.figure("relay_head") == position + 2
                assert told.figure("relay_gap") == 2
                assert told.figure("relay_position") == position
                assert (told.figure("relay_lag_seconds") or 0) > 0
            await watcher.reads("relay_gap", 0)
            assert await watcher.figure("relay_position") == position + 2


AGAIN = sql.SQL(
    "INSERT INTO {table} (originator_id, originator_version, topic, state)"
    " SELECT gen_random_uuid(), 1, topic, state FROM {table} LIMIT 1"
)


async def test_a_stop_and_a_rebuild_show_and_no_event_is_quoted(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | PARTITIONS, consumers=0) as pipeline:
        await pipeline.write("roses", "red\n")
        await pipeline.published()
        await produce(pipeline, BAD_RECORD)
        consumer, watched = watched_view(pipeline, on_error=OnError.STOP)
        async with asked(watched) as watcher, running(consumer.run):
            assert await watcher.figure("view_rebuild_gap") is None
            (why,) = await watcher.finds(503)
            assert why.endswith(" has stopped: eventsourcing-kafka consumer status fts says why")
            told = await watcher.told()
            assert (told.figure("view_stopped"), told.figure("view_gap")) == (1, 1)

            following = pipeline.store.next_generation()
            async with following.connected() as connection:
                await following.prepare(connection, 2)
            told = await watcher.told()
            assert told.figure("view_rebuild_offset") == 0
            assert told.figure("view_rebuild_gap") == sum((await pipeline.ends()).values())


async def test_every_figure_keeps_the_conventions_and_is_on_the_page(
    environment: dict[str, str],
) -> None:
    page = (ROOT / "docs" / "METRICS.md").read_text()
    documented = set(re.findall(rf"`({PREFIX}\w+)`", page))

    async with Pipeline(environment | PARTITIONS) as pipeline:
        await pipeline.write("roses", "red\n")
        await pipeline.settled()
        following = pipeline.store.next_generation()
        async with following.connected() as connection:
            await following.prepare(connection, 2)
        parts = watched_relay(pipeline)[1], watched_view(pipeline)[1]
        async with asked(*parts) as watcher:
            samples = (await watcher.told()).samples

    exported = {re.sub(r"_(bucket|sum|count)$", "", sample.name) for sample in samples}
    assert {name for name in exported if not name.startswith("process_")} == documented
    assert {label for sample in samples for label in sample.labels} <= {
        "application",
        "view",
        "partition",
        "outcome",
        "le",
    }
