"""The activity view through Kafka, alone and beside the search view."""

import json
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from eventsourcing_kafka.consumer.engine.store import ViewMissingError, ViewStore
from eventsourcing_kafka.consumer.engine.subscription import Pacing
from eventsourcing_kafka.consumer.views.fts.search import search
from eventsourcing_kafka.consumer.views.fts.view import VIEW as FTS
from eventsourcing_kafka.producer.contentmanagement.domainmodel import user_id_cvar
from tests.consumer.test_command_line import run_all
from tests.operations.child import child
from tests.operations.counted import activity, assert_counted_once, write
from tests.pipeline import until

TWO = {"KAFKA_TOPIC_PARTITIONS": "2", "KAFKA_SESSION_TIMEOUT_MS": "1500"}


async def test_additions_are_exact_over_restarts_of_the_consumer(
    environment: dict[str, str],
) -> None:
    async with activity(environment | TWO) as pipeline:
        for number in range(4):
            consumer = pipeline.start_consumer(pipeline.consumer(limit=3, pacing=Pacing(at_once=2)))
            await write(pipeline, f"page{number}-", pages=2)
            await consumer.stop()
        pipeline.start_consumer()
        await assert_counted_once(pipeline)


@pytest.mark.usefixtures("programs")
async def test_both_views_in_one_process_have_their_own_lives_and_the_commands_read_them(
    environment: dict[str, str], tmp_path: Path
) -> None:
    user = uuid4()
    command = ("run", "fts", "activity", "--grace", "2")
    async with activity(environment | TWO) as pipeline:
        user_id_cvar.set(user)
        fts = ViewStore.of(FTS, pipeline.environment)
        async with child(
            pipeline.environment,
            tmp_path / "log",
            "consumer",
            *command,
            module="eventsourcing_kafka",
        ) as it:
            await write(pipeline, "page", pages=2, edits=2)
            await assert_counted_once(pipeline)
            await until(lambda: finds(fts, "-nothing", 2))
            async with fts.connected() as connection:
                await connection.execute(fts.sql("DROP TABLE {schema}.pages"))
            await write(pipeline, "late", pages=2, edits=2)
            await it.says('view fts has ended: relation "fts.pages" does not exist')
            await assert_counted_once(pipeline)
            it.send(signal.SIGTERM)
            assert await it.ends() == 1

        changes, contributors, pages, table = await run_all(
            pipeline.environment,
            ("consumer", "changes", "--limit", "3", "--json"),
            ("consumer", "contributors", "--json"),
            ("consumer", "pages", "--json"),
            ("consumer", "changes"),
        )
        assert [row["change"] for row in json.loads(changes.stdout)] == [
            "BodyUpdated",
            "BodyUpdated",
            "Created",
        ]
        assert [(row["user_id"], row["edits"]) for row in json.loads(contributors.stdout)] == [
            (str(user), 12)
        ]
        assert {row["slug"]: row["edits"] for row in json.loads(pages.stdout)} == dict.fromkeys(
            ["page0", "page1", "late0", "late1"], 3
        )
        assert table.stdout.count(b"Created") == 4


async def finds(store: ViewStore, query: str, pages: int) -> bool:
    try:
        return len(await search(store, query)) == pages
    except ViewMissingError:
        return False
