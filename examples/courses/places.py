"""How many places each course has left: a view in Postgres, with its audit."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, LiteralString, NamedTuple

from eventsourcing.dcb.domain import Tagged
from eventsourcing.dcb.msgpack import Decision
from eventsourcing.utils import get_topic
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.consumer.audit import AggregateHistory, Comparison, Disposition
from eventsourcing_kafka.consumer.unit_of_work import Place
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.wire import EventTypes
from eventsourcing_kafka.producer.wire.discovery import event_types_of
from examples.courses.application import Courses
from examples.courses.domainmodel import CourseOffered, StudentJoined, StudentLeft

CREATE_COURSES: LiteralString = """
    CREATE TABLE {schema}.courses (
        course text COLLATE "C" PRIMARY KEY,
        partition integer NOT NULL,
        title text NOT NULL,
        places_left integer NOT NULL CHECK (places_left >= 0)
    )
"""

INSERT_COURSE: LiteralString = """
    INSERT INTO {schema}.courses (course, partition, title, places_left) VALUES (%s, %s, %s, %s)
"""

UPDATE_COURSE: LiteralString = """
    UPDATE {schema}.courses SET places_left = places_left + %s WHERE course = %s
"""

SELECT_COURSES: LiteralString = """
    SELECT course, partition, title, places_left FROM {schema}.courses ORDER BY course
"""


class PlacesUnitOfWork:
    """A statement for each decision."""

    def __init__(self, schema: str) -> None:
        self._schema = sql.Identifier(schema)
        self._changes: list[tuple[LiteralString, Sequence[Any]]] = []

    async def read(
        self,
        connection: AsyncConnection[Any],
        originators: Collection[str],
        events: Sequence[Tagged[Decision]],
    ) -> None:
        """Read nothing."""

    def apply(self, event: Tagged[Decision], place: Place) -> None:
        """Say what the row becomes."""
        match event.decision:
            case CourseOffered(course, title, places):
                row = [course, place.partition, title, places]
                self._changes.append((INSERT_COURSE, row))
            case StudentJoined(course):
                self._changes.append((UPDATE_COURSE, [-1, course]))
            case StudentLeft(course):
                self._changes.append((UPDATE_COURSE, [1, course]))

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing follows from what is dropped."""

    async def write(self, connection: AsyncConnection[Any]) -> None:
        """Run the statements."""
        for statement, values in self._changes:
            await connection.execute(sql.SQL(statement).format(schema=self._schema), values)


class CourseRow(NamedTuple):
    """A course."""

    course: str
    partition: int
    title: str
    places_left: int

    @property
    def key(self) -> str:
        """What no two have in common."""
        return self.course

    @property
    def name(self) -> str:
        """What it is called."""
        return f"course {self.title!r}"

    @property
    def originator_id(self) -> None:
        """Return nothing: it is about no aggregate."""


async def compare_courses(
    comparison: Comparison, histories: AsyncIterator[AggregateHistory]
) -> None:
    """Hold each course against the decisions about it: they are few, and fit into memory."""
    courses: dict[str, CourseRow] = {}
    unsure: set[str] = set()
    async for history in histories:
        async for event, partition, disposition in history.events:
            decision = event.decision
            if disposition is not Disposition.APPLIED:
                unsure.add(decision.course)
            match decision:
                case CourseOffered(course, title, places):
                    courses[course] = CourseRow(course, partition, title, places)
                case StudentJoined(course) | StudentLeft(course):
                    row = courses[course]
                    by = -1 if isinstance(decision, StudentJoined) else 1
                    courses[course] = row._replace(places_left=row.places_left + by)
    async with comparison.table("courses", CourseRow, SELECT_COURSES) as rows:
        for course, row in sorted(courses.items()):
            if course in unsure:
                await rows.let_pass(course)
            else:
                await rows.expect(course, row)


TYPES = event_types_of(Courses)

VIEW = View(
    name="places",
    application_name=Courses.name,
    types=TYPES,
    wanted=EventTypes.of(CourseOffered, StudentJoined, StudentLeft),
    tables=("courses",),
    create=(CREATE_COURSES,),
    unit_of_work=PlacesUnitOfWork,
    audit=compare_courses,
    application_topic=get_topic(Courses),
)
