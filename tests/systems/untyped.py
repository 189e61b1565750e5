"""A dog school and its counters as one writes them without a thought of types.

No event class is written out, and no attribute of an event has an annotation.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-any-generics
# mypy: disable-error-code="attr-defined, misc, var-annotated"

from uuid import NAMESPACE_URL, uuid5

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.system import ProcessApplication, System


class Dog(Aggregate):
    @event("Registered")
    def __init__(self, name):
        self.name = name
        self.tricks = []

    @staticmethod
    def create_id(name):
        return uuid5(NAMESPACE_URL, f"/untyped/dogs/{name}")

    @event("TrickAdded")
    def add_trick(self, trick):
        self.tricks.append(trick)


class DogSchool(Application):
    def register_dog(self, name):
        self.save(Dog(name))

    def add_trick(self, name, trick):
        dog = self.repository.get(Dog.create_id(name))
        dog.add_trick(trick)
        self.save(dog)

    def get_dog(self, name):
        dog = self.repository.get(Dog.create_id(name))
        return {"name": dog.name, "tricks": tuple(dog.tricks)}


class Counter(Aggregate):
    def __init__(self, name):
        self.name = name
        self.count = 0

    @staticmethod
    def create_id(name):
        return uuid5(NAMESPACE_URL, f"/untyped/counters/{name}")

    @event("Incremented")
    def increment(self):
        self.count += 1


class Counters(ProcessApplication):
    @singledispatchmethod
    def policy(self, domain_event, processing_event):
        pass

    @policy.register(Dog.TrickAdded)
    def _(self, domain_event, processing_event):
        try:
            counter = self.repository.get(Counter.create_id(domain_event.trick))
        except AggregateNotFoundError:
            counter = Counter(domain_event.trick)
        counter.increment()
        processing_event.collect_events(counter)

    def get_count(self, trick):
        try:
            return self.repository.get(Counter.create_id(trick)).count
        except AggregateNotFoundError:
            return 0


system = System(pipes=[[DogSchool, Counters]])
