"""The view of the tricks in Postgres."""

from collections.abc import Sequence
from typing import Any, LiteralString

from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from psycopg.sql import SQL, Composed, Identifier

from examples.tricks.projection import TrickCount, TricksView

CREATE_COUNTS: LiteralString = """
    CREATE TABLE IF NOT EXISTS {counts} (
        trick text COLLATE "C" PRIMARY KEY,
        times bigint NOT NULL
    )
"""

COUNT_TRICK: LiteralString = """
    INSERT INTO {counts} AS counted (trick, times) VALUES (%s, 1)
        ON CONFLICT (trick) DO UPDATE SET times = counted.times + 1
"""

SELECT_COUNT: LiteralString = "SELECT times FROM {counts} WHERE trick = %s"

SELECT_FAVOURITES: LiteralString = """
    SELECT trick, times FROM {counts} ORDER BY times DESC, trick LIMIT %s
"""


class PostgresTricksView(TricksView, PostgresTrackingRecorder):
    """Keeps counts and tracking in one Postgres database, side by side."""

    def __init__(
        self,
        datastore: PostgresDatastore,
        *,
        tracking_table_name: str = "notification_tracking",
        **kwargs: Any,
    ) -> None:
        super().__init__(datastore, tracking_table_name=tracking_table_name, **kwargs)
        self._counts_table_name = tracking_table_name.removesuffix("_tracking") + "_counts"
        self.check_identifier_length(self._counts_table_name)
        self.sql_create_statements.append(self._sql(CREATE_COUNTS))

    def count_trick(self, trick: str, tracking: Tracking) -> None:
        """Count that a trick has been learnt once more."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(self._sql(COUNT_TRICK), [trick], prepare=True)

    def get_count(self, trick: str) -> int:
        """Return how many times a trick has been learnt."""
        with self.datastore.get_connection() as connection, connection.cursor() as cursor:
            row = cursor.execute(self._sql(SELECT_COUNT), [trick], prepare=True).fetchone()
            return row["times"] if row else 0

    def get_favourites(self, limit: int) -> Sequence[TrickCount]:
        """Return the tricks learnt most, the first one first, equal ones by name."""
        with self.datastore.get_connection() as connection, connection.cursor() as cursor:
            rows = cursor.execute(self._sql(SELECT_FAVOURITES), [limit], prepare=True)
            return [TrickCount(**row) for row in rows]

    def empty_for_replay(self) -> None:
        """Delete all counts: they are counted again from the start."""
        with self.datastore.get_connection() as connection:
            connection.execute(self._sql("DELETE FROM {counts}"))

    def _sql(self, statement: LiteralString) -> Composed:
        return SQL(statement).format(
            counts=Identifier(self.datastore.schema, self._counts_table_name)
        )
