"""What one can do: offer courses, enrol students, and join and leave."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.domain import Perspective, Selector, Tagged
from eventsourcing.dcb.msgpack import Decision, MessagePackMapper
from eventsourcing.utils import get_topic

from examples.courses.domainmodel import (
    CourseOffered,
    StudentEnrolled,
    StudentJoined,
    StudentLeft,
)


class FullError(Exception):
    """The course has no place left, or the student may join no more courses."""


class NotThereError(Exception):
    """There is no such course, or no such student, or that one has not joined it."""


class Joining(Perspective[Decision]):
    """All that has been decided about one course and one student."""

    def __init__(self, course: str, student: str) -> None:
        self.course, self.student = course, student
        self.places, self.taken = 0, set[str]()
        self.most_courses, self.joined = 0, set[str]()

    def consistency_boundary(self) -> Sequence[Selector]:
        """Return what must not change meanwhile: what is tagged with either."""
        return [Selector(tags=[self.course]), Selector(tags=[self.student])]

    def see(self, decision: Decision) -> None:
        """Take a decision into account."""
        match decision:
            case CourseOffered():
                self.places = decision.places
            case StudentEnrolled():
                self.most_courses = decision.most_courses
            case StudentJoined(course, student):
                self.taken |= {student} if course == self.course else set()
                self.joined |= {course} if student == self.student else set()
            case StudentLeft(course, student):
                self.taken -= {student} if course == self.course else set()
                self.joined -= {course} if student == self.student else set()


class Courses(DCBApplication):
    """Offers courses, and keeps two rules: no course is overfull, and no student in too many."""

    name = "Courses"
    env: Mapping[str, str] = {
        "PERSISTENCE_MODULE": "eventsourcing.dcb.popo",
        "MAPPER_TOPIC": get_topic(MessagePackMapper),
    }

    def offer(self, title: str, places: int) -> str:
        """Offer a course, and return what it is tagged with."""
        course = f"course-{uuid4()}"
        self.events.append([Tagged([course], CourseOffered(course, title, places, _now()))])
        return course

    def enrol(self, name: str, most_courses: int = 3) -> str:
        """Enrol a student, and return what that one is tagged with."""
        student = f"student-{uuid4()}"
        self.events.append([Tagged([student], StudentEnrolled(student, name, most_courses))])
        return student

    def join(self, course: str, student: str) -> int:
        """Have a student join a course, and return the position of that.

        Raises `FullError` or `NotThereError`; and the library's `IntegrityError` if something has
        been decided about either meanwhile: try again.
        """
        seen = self._seen(course, student)
        if not (seen.places and seen.most_courses):
            raise NotThereError
        if student in seen.taken:
            return seen.last_known_position or 0
        if len(seen.taken) >= seen.places or len(seen.joined) >= seen.most_courses:
            raise FullError
        return self._decide(seen, StudentJoined(course, student))

    def leave(self, course: str, student: str) -> int:
        """Have a student leave a course. Raises as `join` does."""
        seen = self._seen(course, student)
        if student not in seen.taken:
            raise NotThereError
        return self._decide(seen, StudentLeft(course, student))

    def _seen(self, course: str, student: str) -> Joining:
        seen = Joining(course, student)
        decided = self.events.read(seen.consistency_boundary())
        for tagged in decided:
            seen.see(tagged.decision)
        seen.last_known_position = decided.head
        return seen

    def _decide(self, seen: Joining, decision: Decision) -> int:
        tagged: list[Tagged[Any]] = [Tagged([seen.course, seen.student], decision)]
        return self.events.append(tagged, seen.consistency_boundary(), seen.last_known_position)


def _now() -> datetime:
    return datetime.now(UTC)
