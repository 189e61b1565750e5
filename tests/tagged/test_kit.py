"""The kit for tests of views takes tagged decisions: given those, then rows."""

from datetime import UTC, datetime
from typing import Any

import pytest
from eventsourcing.dcb.domain import Tagged

from eventsourcing_kafka.compose.security.grants import grants
from eventsourcing_kafka.consumer.engine.applying import Applied, CannotApplyError, OnError
from eventsourcing_kafka.consumer.hosting.mapper import mapper_of_leader
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.testing import ViewUnderTest
from examples.courses.application import Courses, FullError, NotThereError
from examples.courses.domainmodel import CourseOffered, StudentJoined
from examples.courses.places import VIEW

LEFT = "SELECT title, places_left FROM {schema}.courses ORDER BY title"


def offered(course: str, places: int) -> Tagged[Any]:
    decision = CourseOffered(course, course.title(), places, datetime.now(UTC))
    return Tagged([course], decision)


@pytest.fixture
def view(schemas: dict[str, str], token: str) -> ViewUnderTest:
    return ViewUnderTest(VIEW, {**schemas, "PLACES_POSTGRES_SCHEMA": f"{token}_places"})


async def test_given_decisions_then_rows(view: ViewUnderTest) -> None:
    async with view:
        await view.given(
            offered("poetry", 2), Tagged(["poetry", "ada"], StudentJoined("poetry", "ada"))
        )
        assert await view.rows(LEFT) == [("Poetry", 1)]
        await view.replay()
        assert await view.rows(LEFT) == [("Poetry", 1)]


async def test_what_is_ordered_as_a_whole_stops_though_it_is_to_be_parked(
    view: ViewUnderTest,
) -> None:
    async with view:
        await view.given(offered("poetry", 2))
        with pytest.raises(CannotApplyError):
            await view.given(offered("drama", -1), offered("prose", 3))
        outcome = await view.apply(OnError.PARK)
        assert isinstance(outcome, Applied)
        assert ["position 2" in why for why in outcome.stopped.values()] == [True]
        assert await view.rows(LEFT) == [("Poetry", 2)]
        assert not await view.parked()


def test_who_decides_is_held_to_the_rules() -> None:
    with Courses() as courses:
        poetry, drama = courses.offer("Poetry", 1), courses.offer("Drama", 5)
        ada, bob = courses.enrol("Ada", most_courses=1), courses.enrol("Bob")
        joined = courses.join(poetry, ada)
        assert courses.join(poetry, ada) == joined
        with pytest.raises(FullError):
            courses.join(poetry, bob)
        with pytest.raises(FullError):
            courses.join(drama, ada)
        courses.leave(poetry, ada)
        assert courses.join(poetry, bob) > joined
        with pytest.raises(NotThereError):
            courses.leave(poetry, ada)
        with pytest.raises(NotThereError):
            courses.join("cooking", ada)


def test_who_writes_and_who_relays_may_do_what_they_need() -> None:
    said = [grant.statement.as_string() for grant in grants(Courses, [], {})]
    for statement in (
        'GRANT SELECT, INSERT, MAINTAIN ON "public"."courses_events_tt_main" TO "courses_writer"',
        'GRANT SELECT, INSERT ON "public"."courses_events_tt_tag" TO "courses_writer"',
        'GRANT USAGE ON SEQUENCE "public"."courses_events_tt_main_id_seq" TO "courses_writer"',
        'GRANT SELECT ON "public"."courses_events_tt_main" TO "courses_relay"',
    ):
        assert statement in said


def test_without_a_mapper_nothing_is_followed() -> None:
    class Bare(Courses):
        name = "Bare"
        env: dict[str, str] = {}  # noqa: RUF012 - the library says so

    with pytest.raises(SettingsError, match="set MAPPER_TOPIC"):
        mapper_of_leader(Bare, {})
