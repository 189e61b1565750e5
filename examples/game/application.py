"""The commands and queries of the game."""

from uuid import UUID

from eventsourcing.application import Application

from examples.game.domainmodel import Player


class Game(Application[UUID]):
    """Knows its players by their names.

    Every command returns the position of its notification. A name that nobody has raises the
    library's `AggregateNotFoundError`; one that is taken, or two scores at once for one player,
    its `IntegrityError`.
    """

    def add_player(self, name: str) -> int:
        """Let somebody play, with no score yet."""
        return self._save(Player(name))

    def update_score(self, name: str, score: int) -> int:
        """Replace the score of a player."""
        player = self._get_player(name)
        player.update_score(score)
        return self._save(player)

    def get_score(self, name: str) -> int:
        """Return the latest score of a player."""
        return self._get_player(name).score

    def _get_player(self, name: str) -> Player:
        return self.repository.get(Player.create_id(name))

    def _save(self, player: Player) -> int:
        return self.save(player)[-1].notification.id
