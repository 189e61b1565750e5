"""Keeps the aggregates of a batch in memory, and lends them to the policy."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from typing import Any

from eventsourcing.application import Cache


class LendingCache(Cache[Any, Any]):
    """Gives out the very aggregate that it keeps: a copy each time is most of an event's cost.

    That is safe for an aggregate that comes back, collected, at the end of the event. One that a
    policy only reads may have been changed by it all the same, in what nobody will ever record:
    it is dropped, and from then on kept as a copy and lent as copies.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lent: set[Any] = set()
        self._only_read: set[Any] = set()

    def get(self, key: Any, *, evict: bool = False) -> Any:
        """Lend an aggregate. Raises `KeyError` if it is not here, or lent already."""
        if key in self._only_read:
            return deepcopy(super().get(key, evict=evict))
        if key in self._lent:
            self.cache.pop(key, None)
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
