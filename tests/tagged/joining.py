"""Projections of the courses, in the library's own way: who has joined each."""

from typing import Any
from uuid import UUID

from eventsourcing.application import ProcessingEvent
from eventsourcing.dcb.domain import Tagged
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.projection import EventSourcedProjection, Projection
from eventsourcing.utils import get_topic

from eventsourcing_kafka.consumer.hosting.systems import Projected
from examples.courses.application import Courses
from examples.courses.domainmodel import StudentJoined
from examples.tricks.postgres import PostgresTricksView
from examples.tricks.projection import TricksView


class Joined(Projection[TricksView]):
    """Counts who joins, by the course."""

    name = "joined"
    topics = (get_topic(StudentJoined),)

    @singledispatchmethod
    def process_event(self, domain_event: Tagged[Any], tracking: Tracking) -> None:
        assert isinstance(domain_event.decision, StudentJoined)
        assert domain_event.decision.course in domain_event.tags
        self.view.count_trick(domain_event.decision.course, tracking)


joined = Projected(Courses, Joined, PostgresTricksView)


class Place(Aggregate):
    """A place that a student has in a course."""

    @event("Taken")
    def __init__(self, course: str, student: str) -> None:
        self.course = course
        self.student = student


class Register(EventSourcedProjection[UUID]):
    """Records a place for each student who joins."""

    topics = (get_topic(StudentJoined),)

    def policy(self, domain_event: Any, processing_event: ProcessingEvent[UUID]) -> None:
        joined = domain_event.decision
        processing_event.collect_events(Place(joined.course, joined.student))
