"""What a policy reads and writes, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

from eventsourcing.domain import DomainEventProtocol
from psycopg import AsyncConnection

Event = DomainEventProtocol[Any]


class Place(NamedTuple):
    """Where an event comes from."""

    partition: int
    position: int


class UnitOfWork(Protocol):
    """The rows of a view that one batch of events concerns.

    They are read at once, changed in memory by the policy, event by event, and written at once:
    a row that many events of the batch change is written once.
    """

    async def read(
        self,
        connection: AsyncConnection[Any],
        originators: Collection[str],
        events: Sequence[Any],
    ) -> None:
        """Read whatever the policy will need for these events, of these aggregates.

        An event is one of an aggregate's, or a tagged decision: the library's `Tagged`.
        """

    def apply(self, event: Any, place: Place) -> None:
        """Apply the policy to one event. When it raises, nothing has changed.

        Every row belongs to the partition of the events that made it: so a single partition
        can be replayed.
        """

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Take note that an event is dropped: the next one of its aggregate follows it."""

    async def write(self, connection: AsyncConnection[Any]) -> None:
        """Write what has changed."""


class OutOfOrderError(Exception):
    """An event is not its aggregate's next one: one is missing before it, or it comes twice."""

    def __init__(self, event: Event, version: int) -> None:
        super().__init__(
            f"{type(event).__qualname__} is version {event.originator_version} of "
            f"{event.originator_id}, of which the view has version {version}."
        )
