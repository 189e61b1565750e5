"""A projection of the courses, in the library's own way: how many students have joined each."""

from typing import Any

from eventsourcing.dcb.domain import Tagged
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import Tracking
from eventsourcing.projection import Projection
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
