"""The relay and a projection of the courses as processes, and what is asked of them."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from typer.testing import CliRunner, Result

from eventsourcing_kafka.__main__ import app
from eventsourcing_kafka.producer.runtime.construct import construct_view
from examples.courses.application import Courses
from examples.tricks.postgres import PostgresTricksView
from tests.operations.child import child
from tests.pipeline import SECONDS

Env = dict[str, str]

COURSES = "examples.courses.application:Courses"
JOINED = ("--system", "tests.tagged.joining:joined")
AWAY = {"COURSES_POSTGRES_HOST": "127.0.0.1", "COURSES_POSTGRES_PORT": "1"}
"""The write model's database is out of reach."""


def invoke(env: Env, *arguments: str) -> Result:
    return CliRunner(env={**env, "COLUMNS": "300"}).invoke(app, arguments)


@pytest.mark.usefixtures("programs")
async def test_a_relay_knows_the_name_alone_and_a_projection_needs_no_more_than_kafka(
    courses_environment: Env, tmp_path: Path
) -> None:
    def join() -> tuple[str, int]:
        with Courses(courses_environment) as courses:
            course, student = courses.offer("Poetry", 2), courses.enrol("Ada")
            return course, courses.join(course, student)

    def look(course: str, position: int) -> None:
        with closing(
            construct_view("joined", courses_environment, PostgresTricksView)[0]
        ) as factory:
            view = factory.tracking_recorder(PostgresTricksView)
            view.wait("Courses", position, timeout=SECONDS)
            assert view.get_count(course) == 1

    course, position = await to_thread.run_sync(join)
    relay = ("producer", "relay", "--name", "Courses")
    run = ("compose", "run", JOINED[1])
    module = "eventsourcing_kafka"
    async with (
        child(courses_environment, tmp_path / "relay", *relay, module=module),
        child({**courses_environment, **AWAY}, tmp_path / "run", *run, module=module),
    ):
        await to_thread.run_sync(look, course, position)


def asked(env: Env, *arguments: str) -> Any:
    found = invoke(env, *arguments, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_the_status_is_told_by_class_or_by_name(courses_environment: Env) -> None:
    with Courses(courses_environment) as courses:
        courses.offer("Poetry", 2)
    by_class = asked(courses_environment, "producer", "status", "-a", COURSES)
    assert (by_class["application"], by_class["head"], by_class["gap"]) == ("Courses", 1, 1)
    assert asked(courses_environment, "producer", "status", "--name", "Courses") == by_class


def test_the_relay_is_told_what_its_records_are_keyed_by(courses_environment: Env) -> None:
    with Courses(courses_environment) as courses:
        courses.enrol("Ada")
    relay = ("producer", "relay", "-a", COURSES, "--partition-by-tag", "course-")
    told = invoke(courses_environment, *relay)
    assert told.exit_code == 1
    assert "StudentEnrolled at position 1 can't be published" in str(told.exception)


def test_who_has_aggregates_has_no_tags() -> None:
    school = "examples.dogschool.application:DogSchool"
    told = invoke({}, "producer", "relay", "-a", school, "--partition-by-tag", "dog")
    assert told.exit_code == 2


def test_where_views_are_in_postgres_decisions_are_too(courses_environment: Env) -> None:
    """So that a running stack's settings, of which none is about this application, are enough."""
    with Courses(courses_environment) as courses:
        courses.offer("Poetry", 2)
    general = {**courses_environment, "PERSISTENCE_MODULE": "eventsourcing.postgres"}
    del general["COURSES_PERSISTENCE_MODULE"]
    assert asked(general, "producer", "status", "-a", COURSES)["head"] == 1


def test_a_store_without_a_place_for_decisions_is_refused(courses_environment: Env) -> None:
    wrong = {**courses_environment, "COURSES_PERSISTENCE_MODULE": "eventsourcing.sqlite"}
    told = invoke(wrong, "producer", "status", "-a", COURSES)
    assert told.exit_code == 1
    assert "COURSES_PERSISTENCE_MODULE=eventsourcing.dcb.postgres_tt" in str(told.exception)
