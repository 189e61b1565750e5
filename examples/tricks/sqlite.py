"""The view of the tricks in SQLite."""

from collections.abc import Sequence

from eventsourcing.persistence import Tracking
from eventsourcing.sqlite import SQLiteTrackingRecorder

from examples.tricks.projection import TrickCount, TricksView

CREATE_COUNTS = """
    CREATE TABLE IF NOT EXISTS trick_counts (
        trick TEXT PRIMARY KEY,
        times INTEGER NOT NULL
    ) WITHOUT ROWID
"""

COUNT_TRICK = """
    INSERT INTO trick_counts (trick, times) VALUES (?, 1)
        ON CONFLICT (trick) DO UPDATE SET times = times + 1
"""

SELECT_COUNT = "SELECT times FROM trick_counts WHERE trick = ?"

SELECT_FAVOURITES = """
    SELECT trick, times FROM trick_counts ORDER BY times DESC, trick LIMIT ?
"""


class SQLiteTricksView(TricksView, SQLiteTrackingRecorder):
    """Keeps counts and tracking in one SQLite database."""

    def construct_create_table_statements(self) -> list[str]:
        """Add the table of the view to the library's own."""
        return [*super().construct_create_table_statements(), CREATE_COUNTS]

    def count_trick(self, trick: str, tracking: Tracking) -> None:
        """Count that a trick has been learnt once more."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(COUNT_TRICK, [trick])

    def get_count(self, trick: str) -> int:
        """Return how many times a trick has been learnt."""
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute(SELECT_COUNT, [trick])
            row = cursor.fetchone()
            return row["times"] if row else 0

    def get_favourites(self, limit: int) -> Sequence[TrickCount]:
        """Return the tricks learnt most, the first one first, equal ones by name."""
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute(SELECT_FAVOURITES, [limit])
            return [TrickCount(*row) for row in cursor.fetchall()]
