"""The table of the best scores."""

import sys
from typing import NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.domain import Aggregate, event
from eventsourcing.utils import register_topic

PLACES = 3


class HighScore(NamedTuple):
    """A place in the table."""

    name: str
    score: int


class HighScoreTable(Aggregate):
    """The three best scores, at most one of each player, the best first.

    Equal scores stand in the order of the names: then the table does not depend on the order
    in which the scores of different players come in.
    """

    class Created(Aggregate.Created):
        """The table was put up, empty."""

    class Entered(Aggregate.Event):
        """A player came in, or went up."""

        name: str
        score: int

    @event(Created)
    def __init__(self) -> None:
        self.scores: list[HighScore] = []

    @staticmethod
    def create_id() -> UUID:
        """Return the ID of the one table."""
        return uuid5(NAMESPACE_URL, "/high_score_table")

    def enter(self, name: str, score: int) -> None:
        """Take a score into the table if it is high enough; otherwise nothing happens."""
        if self._with(name, score) != self.scores:
            self._enter(name, score)

    @event(Entered)
    def _enter(self, name: str, score: int) -> None:
        self.scores = self._with(name, score)

    def _with(self, name: str, score: int) -> list[HighScore]:
        best = dict(self.scores)
        # Who was pushed out of the table needs no memory: the score to beat only goes up.
        best[name] = max(score, best.get(name, score))
        ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))
        return [HighScore(*item) for item in ranked[:PLACES]]


# What was stored before it moved here names it so.
register_topic("consumer.halloffame.domainmodel", sys.modules[__name__])
