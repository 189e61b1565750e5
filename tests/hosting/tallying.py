"""Systems of applications that count what they hear of, and record that in events of their own."""

from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import AggregateNotFoundError, ProcessingEvent
from eventsourcing.domain import Aggregate, DomainEventProtocol, event
from eventsourcing.system import ProcessApplication, System

from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog

VOLLEYS = 5


class Tally(Aggregate):
    """How often something was heard of."""

    class Begun(Aggregate.Created):
        name: str

    class Counted(Aggregate.Event):
        name: str
        count: int

    @event(Begun)
    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    @staticmethod
    def create_id(name: str) -> UUID:
        return uuid5(NAMESPACE_URL, f"/tallies/{name}")

    def increment(self) -> None:
        self._counted(self.name, self.count + 1)

    @event(Counted)
    def _counted(self, name: str, count: int) -> None:
        self.name, self.count = name, count


class Tallying(ProcessApplication[UUID]):
    """Counts by name."""

    def policy(
        self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]
    ) -> None:
        """Count what is heard of in an event, if anything is."""
        name = self.heard(domain_event)
        if name:
            processing_event.collect_events(self.incremented(name))

    def heard(self, domain_event: DomainEventProtocol[UUID]) -> str | None:
        """Return the name of what is to be counted."""
        match domain_event:
            case Dog.TrickAdded(trick=name) | Tally.Counted(name=name):
                return name
        return None

    def incremented(self, name: str) -> Tally:
        """Return a tally with one more."""
        try:
            tally: Tally = self.repository.get(Tally.create_id(name))
        except AggregateNotFoundError:
            tally = Tally(name)
        tally.increment()
        return tally

    def count(self, name: str) -> int:
        """Return how often a name was heard."""
        try:
            tally: Tally = self.repository.get(Tally.create_id(name))
        except AggregateNotFoundError:
            return 0
        return tally.count


class Left(Tallying):
    """Follows the dog school."""


class Right(Tallying):
    """Follows the dog school."""


class Bottom(Tallying):
    """Follows both, and counts the same for each of them."""


class Player(Tallying):
    """Returns each ball, until enough have been played."""

    def heard(self, domain_event: DomainEventProtocol[UUID]) -> str | None:
        match domain_event:
            case Tally.Counted(name=name, count=count) if count <= VOLLEYS:
                return name
        return None

    def serve(self, name: str) -> None:
        """Bring a ball into play."""
        self.save(self.incremented(name))


class Ping(Player):
    """Follows Pong."""


class Pong(Player):
    """Follows Ping."""


chain = System(pipes=[[DogSchool, Left, Bottom]])
diamond = System(pipes=[[DogSchool, Left, Bottom], [DogSchool, Right, Bottom]])
loop = System(pipes=[[Ping, Pong, Ping]])
several = System(pipes=[[DogSchool, Left], [DogSchool, Right], [Ping, Pong, Ping]])
