"""Players, and their scores."""

import sys
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.domain import Aggregate, event
from eventsourcing.utils import register_topic


class Player(Aggregate):
    """Somebody who plays, and the score of the latest round."""

    class Joined(Aggregate.Created):
        """Somebody began to play."""

        name: str

    class ScoreUpdated(Aggregate.Event):
        """A player reached a score; the name is here for who follows the scores only."""

        name: str
        score: int

        def apply(self, aggregate: "Player") -> None:
            """Remember the score."""
            aggregate.score = self.score

    @event(Joined)
    def __init__(self, name: str) -> None:
        self.name = name
        self.score = 0

    @staticmethod
    def create_id(name: str) -> UUID:
        """Return the one ID that the player of this name can have."""
        return uuid5(NAMESPACE_URL, f"/players/{name}")

    def update_score(self, score: int) -> None:
        """Replace the score, be it by a lower one."""
        self.trigger_event(self.ScoreUpdated, name=self.name, score=score)


# What was stored before it moved here names it so.
register_topic("producer.game.domainmodel", sys.modules[__name__])
