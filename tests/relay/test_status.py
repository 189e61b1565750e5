"""How far the relay is, from outside."""

from datetime import UTC, datetime, timedelta

import pytest

from .under_test import RelayUnderTest


async def test_an_application_without_a_topic_has_nothing_published(
    under_test: RelayUnderTest,
) -> None:
    under_test.write(2)

    status = await under_test.status()

    assert (status.position, status.head, status.gap) == (0, 2, 2)


async def test_an_application_without_events_is_up_to_date(under_test: RelayUnderTest) -> None:
    status = await under_test.status()

    assert (status.position, status.head, status.gap, status.lag_seconds) == (0, 0, 0, 0)


async def test_the_gap_is_in_positions_and_the_lag_is_the_age_of_the_oldest_unpublished(
    under_test: RelayUnderTest,
) -> None:
    under_test.write(5, when=datetime.now(UTC) - timedelta(hours=5))
    await under_test.catch_up()
    under_test.write(2, when=datetime.now(UTC) - timedelta(minutes=2))
    under_test.write(1)

    status = await under_test.status()

    assert status.application == "ContentManagement"
    assert status.topic == under_test.topics.events
    assert (status.position, status.head, status.gap) == (5, 8, 3)
    assert status.lag_seconds == pytest.approx(120, abs=10)


async def test_a_relay_that_has_caught_up_has_no_gap_and_no_lag(under_test: RelayUnderTest) -> None:
    under_test.write(5, when=datetime.now(UTC) - timedelta(hours=5))
    await under_test.catch_up()

    status = await under_test.status()

    assert (status.position, status.head, status.gap, status.lag_seconds) == (5, 5, 0, 0)
