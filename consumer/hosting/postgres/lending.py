"""Keeps the aggregates of a batch in memory, and lends them to the policy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

from eventsourcing.application import Cache
from eventsourcing.persistence import StoredEvent


class Kept(NamedTuple):
    """An aggregate as an earlier batch has left it."""

    aggregate: Any
    last: StoredEvent
    """The last event of it that was recorded then."""

    def is_current(self, recorder: Any) -> bool:
        """Tell whether that is the last one still: nobody has recorded more, or something else."""
        version = self.last.originator_version
        return [self.last] == list(
            recorder.select_events(self.last.originator_id, gt=version - 1, limit=2)
        )


Aggregates = Mapping[Any, Kept]


class LendingCache(Cache[Any, Any]):
    """Gives out the very aggregate that it keeps: a copy each time is most of an event's cost.

    That is safe for an aggregate that comes back, collected, at the end of the event. One that a
    policy only reads may have been changed by it all the same, in what nobody will ever record:
    it is dropped, and from then on kept as a copy and lent as copies.

    What the batch before has `kept` is taken if the recorder has nothing else of it by now: to make
    an aggregate of all its events is most of what a batch costs, once it has some hundreds.
    """

    def __init__(self, recorder: Any, kept: Aggregates) -> None:
        super().__init__()
        self._recorder = recorder
        self._kept = dict(kept)
        self._lent: set[Any] = set()
        self._only_read: set[Any] = set()

    def get(self, key: Any, *, evict: bool = False) -> Any:
        """Lend an aggregate. Raises `KeyError` if it is not here, or lent already."""
        if key in self._only_read:
            return deepcopy(super().get(key, evict=evict))
        if key in self._lent:
            self.cache.pop(key, None)
        elif (kept := self._kept.pop(key, None)) and kept.is_current(self._recorder):
            self.cache.setdefault(key, kept.aggregate)
        self._lent.add(key)
        return super().get(key, evict=evict)

    def put(self, key: Any, value: Any) -> None:
        """Keep an aggregate, which is lent too if the repository has just loaded it."""
        super().put(key, deepcopy(value) if key in self._only_read else value)

    def settle(self, collected: Collection[Any]) -> None:
        """End an event, of which these aggregates were collected."""
        for key in self._lent.difference(collected):
            self.cache.pop(key, None)
            self._only_read.add(key)
        self._lent.clear()

    def to_keep(self, recorded: Mapping[Any, StoredEvent]) -> Aggregates:
        """Return the aggregates to keep for the next batch, of those that events were recorded of.

        No others: so it is never more than one batch brings.
        """
        return {
            key: Kept(self.cache[key], last)
            for key, last in recorded.items()
            if key in self.cache and key not in self._only_read
        }
