"""Followers of the dog school that can't take some tricks until they are mended."""

import os
from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from eventsourcing.application import ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Tracking
from eventsourcing.system import System

from eventsourcing_kafka.consumer.hosting.systems import Projected
from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog
from examples.tricks.popo import POPOTricksView
from examples.tricks.postgres import PostgresTricksView
from examples.tricks.projection import Tricks
from examples.tricks.sqlite import SQLiteTricksView

from .tallying import Bottom, Tallying

MENDED = {"ANTIDOTE": "yes"}
"""The settings of a process whose code is mended."""

Event = DomainEventProtocol[UUID]


class CannotTakeError(ValueError):
    """It would not agree with it."""


def take(trick: str) -> None:
    """Raise what a policy raises that is not mended; nothing helps with venom."""
    if trick == "venom" or (trick == "poison" and "ANTIDOTE" not in os.environ):
        raise CannotTakeError(trick)


class Patient(Tallying):
    """Can't take poison, unless it is mended."""

    meanwhile: ClassVar[list[Callable[[], Any]]] = []
    """What others do while the policy runs, each once."""

    def policy(self, domain_event: Event, processing_event: ProcessingEvent[UUID]) -> None:
        super().policy(domain_event, processing_event)
        while self.meanwhile:
            self.meanwhile.pop()()
        if isinstance(domain_event, Dog.TrickAdded):
            take(domain_event.trick)


class Squeamish(Tricks):
    """A projection that can't take poison, unless it is mended."""

    name = "squeamish"

    @singledispatchmethod
    def process_event(
        self,
        domain_event: Event,  # noqa: ARG002 - whatever it is
        tracking: Tracking,
    ) -> None:
        """Move on, past what is no trick."""
        self.view.insert_tracking(tracking)

    @process_event.register(Dog.TrickAdded)
    def _(self, domain_event: Dog.TrickAdded, tracking: Tracking) -> None:
        take(domain_event.trick)
        self.view.count_trick(domain_event.trick, tracking)


class Clumsy(Squeamish):
    """A projection that stumbles when it has counted."""

    def process_event(self, domain_event: Event, tracking: Tracking) -> None:
        super().process_event(domain_event, tracking)
        if isinstance(domain_event, Dog.TrickAdded):
            raise CannotTakeError(domain_event.trick)


class Kept(PostgresTricksView):
    """Does not say how it is emptied."""

    empty_for_replay = None  # type: ignore[assignment]


class Unmade(PostgresTricksView):
    """Can't be constructed: the library takes its statements as what psycopg composes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sql_create_statements.append("CREATE TABLE unmade ()")  # type: ignore[arg-type]


class Unhappy(Squeamish):
    """A projection into what can't be constructed."""

    name = "unhappy"


class Longest(Patient):
    """Has as long a name as Postgres lets it have."""

    name = "L" * 53


class TooLong(Patient):
    """Has a name that is longer by one."""

    name = "L" * 54


clinic = System(pipes=[[DogSchool, Patient]])
ward = System(pipes=[[DogSchool, Patient, Bottom]])
longest = System(pipes=[[DogSchool, Longest]])
too_long = System(pipes=[[DogSchool, TooLong]])
postgres_view = Projected(DogSchool, Squeamish, PostgresTricksView)
sqlite_view = Projected(DogSchool, Squeamish, SQLiteTricksView)
clumsy_view = Projected(DogSchool, Clumsy, SQLiteTricksView)
kept_view = Projected(DogSchool, Squeamish, Kept)
unmade_view = Projected(DogSchool, Unhappy, Unmade)
memory_view = Projected(DogSchool, Squeamish, POPOTricksView)
