"""The commands and queries of the dog school."""

from typing import TypedDict
from uuid import UUID

from eventsourcing.application import Application

from examples.dogschool.domainmodel import Dog


class DogDetails(TypedDict):
    """What the school tells of a dog."""

    name: str
    tricks: tuple[str, ...]


class DogSchool(Application[UUID]):
    """Registers dogs by their names, and remembers what they have learnt.

    Every command returns the position of its notification. A dog that is not registered raises
    the library's `AggregateNotFoundError`; a name registered twice, or two tricks at once for
    one dog, its `IntegrityError`.
    """

    def register_dog(self, name: str) -> int:
        """Welcome a dog that knows nothing yet."""
        return self._save(Dog(name))

    def add_trick(self, name: str, trick: str) -> int:
        """Note that a dog has learnt a trick."""
        dog = self._get_dog(name)
        dog.add_trick(trick)
        return self._save(dog)

    def get_dog(self, name: str) -> DogDetails:
        """Return a dog and its tricks, in the order in which it learnt them."""
        dog = self._get_dog(name)
        return {"name": dog.name, "tricks": tuple(dog.tricks)}

    def _get_dog(self, name: str) -> Dog:
        return self.repository.get(Dog.create_id(name))

    def _save(self, dog: Dog) -> int:
        return self.save(dog)[-1].notification.id
