"""A leader with an attribute type that has no JSON form."""

from datetime import date, datetime
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.system import System

from .tallying import Left


class Loom(Aggregate):
    @event("Begun")
    def __init__(self, begun: date | datetime) -> None:
        self.begun = begun


class Weaving(Application[UUID]):
    """Has looms."""


system = System(pipes=[[Weaving, Left]])
