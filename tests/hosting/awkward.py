"""Followers of the dog school that fail, or that do more than count."""

import os
import signal
from contextlib import suppress
from typing import Any, ClassVar
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from eventsourcing.application import Application, EventSourcedLog, ProcessingEvent
from eventsourcing.domain import Aggregate, DomainEventProtocol
from eventsourcing.persistence import ProgrammingError, StoredEvent
from eventsourcing.system import System
from eventsourcing.utils import EnvType, get_topic

from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog

from .tallying import Left, Tally, Tallying

Event = DomainEventProtocol[UUID]

TRICKS = ("roll over", "fetch ball", "play dead")


class Fussy(Tallying):
    """Takes no poison, which it finds out late."""

    def policy(self, domain_event: Event, processing_event: ProcessingEvent[UUID]) -> None:
        super().policy(domain_event, processing_event)
        if isinstance(domain_event, Dog.TrickAdded) and domain_event.trick == "poison":
            raise ValueError("I do not take poison.")


class Hasty(Tallying):
    """Saves instead of collecting."""

    def policy(self, domain_event: Event, _: ProcessingEvent[UUID]) -> None:
        name = self.heard(domain_event)
        if name:
            self.save(self.incremented(name))


class Mortal(Tallying):
    """Dies in the middle of a batch, at its n-th event."""

    met = 0

    def policy(self, domain_event: Event, processing_event: ProcessingEvent[UUID]) -> None:
        super().policy(domain_event, processing_event)
        self.met += 1
        if str(self.met) == os.environ.get("MORTAL_DIES_AT"):
            os.kill(os.getpid(), signal.SIGKILL)


class Choosy(Tallying):
    """Asks for tricks only, and counts everything that it gets by its type."""

    topics = (get_topic(Dog.TrickAdded),)

    def heard(self, domain_event: Event) -> str:
        return type(domain_event).__name__


class Photographer(Tallying):
    """Takes a snapshot of every third version."""

    snapshotting_intervals: ClassVar[dict[Any, int]] = {Tally: 3}


class Careless(Tallying):
    """Changes what it will not record: before it does what is asked, and in events of no use."""

    def policy(self, domain_event: Event, processing_event: ProcessingEvent[UUID]) -> None:
        for trick in TRICKS:
            self.incremented(trick).count += 100
        super().policy(domain_event, processing_event)


class Diarist(Tallying):
    """Writes a log, each entry of which follows the one before."""

    class Entry(Aggregate.Event):
        trick: str

    def __init__(self, env: EnvType | None = None) -> None:
        super().__init__(env)
        self.diary = EventSourcedLog(self.events, uuid5(NAMESPACE_URL, "/diary"), self.Entry)

    def policy(self, domain_event: Event, processing_event: ProcessingEvent[UUID]) -> None:
        if isinstance(domain_event, Dog.TrickAdded):
            processing_event.collect_events(self.diary.trigger_event(trick=domain_event.trick))


class Rival(Tallying):
    """Has another one record the same, between its reading and its writing, so many times."""

    conflicts: ClassVar[int]

    def policy(self, domain_event: Event, processing_event: ProcessingEvent[UUID]) -> None:
        super().policy(domain_event, processing_event)
        if self.heard(domain_event) and Rival.conflicts:
            Rival.conflicts -= 1
            with Rival(self.env) as other:
                other.save(other.incremented(self.heard(domain_event) or ""))


class Swallowing(Tallying):
    """Keeps an error of the database to itself, at the word "poison"."""

    def heard(self, domain_event: Event) -> str | None:
        name = super().heard(domain_event)
        if name == "poison":
            recorder: Any = self.recorder
            with suppress(ProgrammingError), recorder.datastore.get_connection() as connection:
                connection.execute("SELECT nothing FROM nowhere")
        return name


class Zipped(DogSchool):
    """A dog school that always stores compressed."""

    env: ClassVar[dict[str, str]] = {"COMPRESSOR_TOPIC": "eventsourcing.compressor:ZlibCompressor"}


class Till(Application[UUID]):
    """Stores what is no state of an event."""

    def put_in(self) -> None:
        """Record what another program has damaged."""
        self.recorder.insert_events([StoredEvent(uuid4(), 1, get_topic(Dog.Registered), b"{")])


class Purse(Tallying):
    """Follows the till."""


fussy = System(pipes=[[DogSchool, Fussy]])
hasty = System(pipes=[[DogSchool, Hasty]])
rival = System(pipes=[[DogSchool, Rival]])
swallowing = System(pipes=[[DogSchool, Swallowing]])
mortal = System(pipes=[[DogSchool, Mortal]])
careless = System(pipes=[[DogSchool, Careless]])
choosy = System(pipes=[[DogSchool, Choosy]])
photographer = System(pipes=[[DogSchool, Photographer]])
diarist = System(pipes=[[DogSchool, Diarist]])
zipped = System(pipes=[[Zipped, Left]])
till = System(pipes=[[Till, Purse]])
