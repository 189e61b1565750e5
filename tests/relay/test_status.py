"""How far the relay is, from outside."""

from datetime import UTC, datetime, timedelta

import pytest

from .pipeline import Pipeline


async def test_an_application_without_a_topic_has_nothing_published(pipeline: Pipeline) -> None:
    pipeline.write(2)

    status = await pipeline.status()

    assert (status.position, status.head, status.gap) == (0, 2, 2)


async def test_an_application_without_events_is_up_to_date(pipeline: Pipeline) -> None:
    status = await pipeline.status()

    assert (status.position, status.head, status.gap, status.lag_seconds) == (0, 0, 0, 0)


async def test_the_gap_is_in_positions_and_the_lag_is_the_age_of_the_oldest_unpublished(
    pipeline: Pipeline,
) -> None:
    pipeline.write(5, when=datetime.now(UTC) - timedelta(hours=5))
    await pipeline.catch_up()
    pipeline.write(2, when=datetime.now(UTC) - timedelta(minutes=2))
    pipeline.write(1)

    status = await pipeline.status()

    assert status.application == "ContentManagement"
    assert status.topic == pipeline.topics.events
    assert (status.position, status.head, status.gap) == (5, 8, 3)
    assert status.lag_seconds == pytest.approx(120, abs=10)


async def test_a_relay_that_has_caught_up_has_no_gap_and_no_lag(pipeline: Pipeline) -> None:
    pipeline.write(5, when=datetime.now(UTC) - timedelta(hours=5))
    await pipeline.catch_up()

    status = await pipeline.status()

    assert (status.position, status.head, status.gap, status.lag_seconds) == (5, 5, 0, 0)
