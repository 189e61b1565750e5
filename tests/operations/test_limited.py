"""What Kafka has deleted is read from the write model, and the view is the same.

Each view here counts what it applies: an event too many or too few would show.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.history import write_model_of
from eventsourcing_kafka.consumer.operations.replay import replay_view
from tests.pipeline import Pipeline

from .counted import activity, assert_counted_once, write
from .test_broken import OFTEN, TWO, assert_right, delete_all, says, stop, stopped


def start(pipeline: Pipeline, store: ViewStore | None = None, **options: Any) -> None:
    """Start a consumer that has the way to the write model."""
    source = write_model_of(pipeline.store.view, pipeline.environment)
    pipeline.start_consumer(
        pipeline.consumer(store, pacing=OFTEN, **{"write_model": source, **options})
    )


@asynccontextmanager
async def deleted(environment: dict[str, str]) -> AsyncIterator[Pipeline]:
    """Have some events published, and deleted from Kafka."""
    async with activity(environment | TWO) as pipeline:
        await write(pipeline, "early", pages=4, edits=3)
        await pipeline.published()
        for partition in (0, 1):
            await delete_all(pipeline, partition)
        yield pipeline


async def test_a_new_view_has_all_though_kafka_has_nothing_left(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with deleted(environment) as pipeline:
        start(pipeline)
        await assert_right(pipeline)
        await write(pipeline, "late", pages=2, edits=2)
        await assert_counted_once(pipeline)
    assert caplog.text.count("reading it from the write model") == 2
    assert "the gap is not known" not in caplog.text


async def test_a_new_view_goes_on_where_kafka_begins(environment: dict[str, str]) -> None:
    async with deleted(environment) as pipeline:
        await write(pipeline, "late", pages=4, edits=2)
        await pipeline.published()
        start(pipeline)
        await assert_counted_once(pipeline)
        assert await stopped(pipeline) == {}


async def test_a_view_that_was_away_and_a_replay_read_what_they_lack(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with deleted(environment) as pipeline:
        start(pipeline)
        await assert_counted_once(pipeline)
        await stop(pipeline)
        await write(pipeline, "away", pages=4, edits=2)
        await pipeline.published()
        await delete_all(pipeline, 1)
        await write(pipeline, "late", pages=4, edits=2)
        await pipeline.published()

        start(pipeline)
        await assert_counted_once(pipeline)
        assert await says(caplog, "partition 1: what comes after")
        await replay_view(pipeline.store)
        await assert_counted_once(pipeline)
