"""Where the library's own test cases for projections keep their counts: POPO, SQLite, Postgres."""

from abc import abstractmethod
from typing import Any, LiteralString

from eventsourcing.persistence import Tracking
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.sqlite import SQLiteTrackingRecorder
from eventsourcing.tests.projection import EventCountersView
from eventsourcing_sqlalchemy.recorders import SQLAlchemyTrackingRecorder
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import text

CREATED, SUBSEQUENT = "created", "subsequent"


class NamedCounters(EventCountersView):
    """Keeps both counts in one place, each under its name."""

    def get_created_event_counter(self) -> int:
        return self._count(CREATED)

    def get_subsequent_event_counter(self) -> int:
        return self._count(SUBSEQUENT)

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment(CREATED, tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment(SUBSEQUENT, tracking)

    @abstractmethod
    def _count(self, name: str) -> int: ...

    @abstractmethod
    def _increment(self, name: str, tracking: Tracking) -> None: ...


class POPOEventCounters(NamedCounters, POPOTrackingRecorder):
    """Counts in the process."""

    def __init__(self) -> None:
        super().__init__()
        self._counts = {CREATED: 0, SUBSEQUENT: 0}

    def _count(self, name: str) -> int:
        return self._counts[name]

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self._database_lock:
            self.insert_tracking(tracking)
            self._counts[name] += 1


class SQLiteEventCounters(NamedCounters, SQLiteTrackingRecorder):
    """Counts in one SQLite database, beside the tracking."""

    def construct_create_table_statements(self) -> list[str]:
        create = "CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, times INTEGER)"
        return [*super().construct_create_table_statements(), create]

    def _count(self, name: str) -> int:
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute("SELECT times FROM counters WHERE name = ?", [name])
            row = cursor.fetchone()
            return row["times"] if row else 0

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "INSERT INTO counters VALUES (?, 1) "
                "ON CONFLICT (name) DO UPDATE SET times = times + 1",
                [name],
            )


CREATE: LiteralString = "CREATE TABLE IF NOT EXISTS {table} (name text PRIMARY KEY, times bigint)"

INCREMENT: LiteralString = """
    INSERT INTO {table} AS counted VALUES (%s, 1)
        ON CONFLICT (name) DO UPDATE SET times = counted.times + 1
"""

SELECT: LiteralString = "SELECT times FROM {table} WHERE name = %s"


class PostgresEventCounters(NamedCounters, PostgresTrackingRecorder):
    """Counts in one Postgres database, beside the tracking."""

    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.sql_create_statements.append(self._sql(CREATE))

    def _count(self, name: str) -> int:
        with self.datastore.get_connection() as connection, connection.cursor() as cursor:
            row = cursor.execute(self._sql(SELECT), [name]).fetchone()
            return row["times"] if row else 0

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(self._sql(INCREMENT), [name])

    def _sql(self, statement: LiteralString) -> Composed:
        table = Identifier(self.datastore.schema, f"{self.tracking_table_name}_counters")
        return SQL(statement).format(table=table)


class SQLAlchemyEventCounters(NamedCounters, SQLAlchemyTrackingRecorder):
    """Counts in a database of SQLAlchemy's, beside the tracking."""

    def create_table(self) -> None:
        super().create_table()
        with self.transaction(commit=True) as session:
            session.execute(
                text("CREATE TABLE IF NOT EXISTS counters (name text PRIMARY KEY, times bigint)")
            )

    def _count(self, name: str) -> int:
        with self.transaction(commit=False) as session:
            times = text("SELECT times FROM counters WHERE name = :name")
            return session.execute(times, {"name": name}).scalar() or 0

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.transaction(commit=True) as session:
            self._insert_tracking(session, tracking)
            session.execute(
                text(
                    "INSERT INTO counters VALUES (:name, 1) "
                    "ON CONFLICT (name) DO UPDATE SET times = counters.times + 1"
                ),
                {"name": name},
            )
