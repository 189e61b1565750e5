"""A leader with two event classes of one name."""

from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.system import System

from examples.dogschool.domainmodel import Dog
from tests.systems.untyped import Dog as OtherDog

from .tallying import Left

__all__ = ["Dog", "Kennel", "OtherDog", "system"]


class Kennel(Application[UUID]):
    """Has two kinds of dogs."""


system = System(pipes=[[Kennel, Left]])
