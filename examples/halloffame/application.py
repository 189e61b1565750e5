"""Keeps the table of the best scores."""

from collections.abc import Sequence
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.system import ProcessApplication
from eventsourcing.utils import get_topic

from examples.game.domainmodel import Player
from examples.halloffame.domainmodel import HighScore, HighScoreTable


class HallOfFame(ProcessApplication[UUID]):
    """Follows the scores of the game, and nothing else of it."""

    topics = (get_topic(Player.ScoreUpdated),)

    @singledispatchmethod
    def policy(
        self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]
    ) -> None:
        """Enter nothing but scores."""

    @policy.register(Player.ScoreUpdated)
    def _(self, domain_event: Player.ScoreUpdated, processing_event: ProcessingEvent[UUID]) -> None:
        try:
            table = self._get_table()
        except AggregateNotFoundError:
            table = HighScoreTable()
        table.enter(domain_event.name, domain_event.score)
        processing_event.collect_events(table)

    def get_high_scores(self) -> Sequence[HighScore]:
        """Return the three best scores, the best first; fewer as long as there are fewer."""
        try:
            return self._get_table().scores
        except AggregateNotFoundError:
            return []

    def _get_table(self) -> HighScoreTable:
        return self.repository.get(HighScoreTable.create_id())
