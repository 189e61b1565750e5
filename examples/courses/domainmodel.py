"""Courses with places, and students who may join some courses, as tagged decisions."""

from datetime import datetime

from eventsourcing.dcb.msgpack import Decision


class CourseOffered(Decision):
    """There is a new course."""

    course: str
    title: str
    places: int
    at: datetime


class StudentEnrolled(Decision):
    """There is a new student."""

    student: str
    name: str
    most_courses: int


class StudentJoined(Decision):
    """A student has a place in a course."""

    course: str
    student: str


class StudentLeft(Decision):
    """A student has given a place in a course back."""

    course: str
    student: str
