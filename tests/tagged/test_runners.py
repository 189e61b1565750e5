"""Runners of projections over the courses, beyond the library's own cases."""

from uuid import UUID

import pytest

from eventsourcing_kafka.compose.runner import (
    KafkaEventSourcedProjectionRunner,
    KafkaProjectionRunner,
)
from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.testing.plugin import kafka_settings
from examples.courses.application import Courses
from examples.tricks.popo import POPOTricksView
from tests.pipeline import SECONDS

from .joining import Joined, Place, Register


@pytest.fixture
def in_memory(kafka: Kafka, token: str) -> dict[str, str]:
    return kafka_settings(kafka, token)


def test_only_what_is_asked_for_is_processed_and_any_position_can_be_waited_for(
    in_memory: dict[str, str],
) -> None:
    with KafkaProjectionRunner(
        application_class=Courses,
        projection_class=Joined,
        view_class=POPOTricksView,
        env=in_memory,
    ) as runner:
        course, ada = runner.app.offer("Poetry", 2), runner.app.enrol("Ada")
        runner.app.join(course, ada)
        left = runner.app.leave(course, ada)
        runner.wait(left, timeout=SECONDS)
        assert runner.view.get_count(course) == 1
        assert all(report.healthy for report in runner.health())


def test_decisions_are_projected_into_aggregates(courses_environment: dict[str, str]) -> None:
    with KafkaEventSourcedProjectionRunner(
        application_class=Courses, projection_class=Register, env=courses_environment
    ) as runner:
        course, ada = runner.app.offer("Poetry", 2), runner.app.enrol("Ada")
        runner.wait(runner.app.join(course, ada), timeout=SECONDS)
        (taken,) = runner.projection.recorder.select_notifications(1, 10)
        assert isinstance(taken.originator_id, UUID)
        place: Place = runner.projection.repository.get(taken.originator_id)
        assert (place.course, place.student) == (course, ada)
