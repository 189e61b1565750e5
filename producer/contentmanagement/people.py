"""Who the users of the wiki are: names beside the events, never in them.

An event names its user by ID alone, and is kept for ever. A name changes, and whoever wants it
gone has it deleted here, while the events stay as they were.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import ProgrammingError
from eventsourcing.postgres import PostgresApplicationRecorder
from psycopg import sql

logger = logging.getLogger(__name__)

MOST_CHARS = 60

TABLE = "contentmanagement_people"

CREATE: LiteralString = """
    CREATE TABLE IF NOT EXISTS {people} (user_id uuid PRIMARY KEY, name text NOT NULL)
"""

UPSERT: LiteralString = """
    INSERT INTO {people} AS known (user_id, name)
    SELECT * FROM unnest(%s::uuid[], %s::text[])
        ON CONFLICT (user_id) DO UPDATE SET name = excluded.name WHERE known.name <> excluded.name
"""

SELECT: LiteralString = "SELECT user_id, name FROM {people} WHERE user_id = ANY(%s)"

DELETE: LiteralString = "DELETE FROM {people} WHERE user_id = %s"

GRANT: LiteralString = "GRANT SELECT, INSERT, UPDATE, DELETE ON {people} TO {role}"


def grants(schema: str, role: str) -> Iterator[sql.Composed]:
    """Yield what has a role keep names: they change, and go when somebody wants that."""
    people = sql.Identifier(schema, TABLE)
    yield sql.SQL(CREATE).format(people=people)
    yield sql.SQL(GRANT).format(people=people, role=sql.Identifier(role))


class People:
    """The names of users, in a table of the write model's database.

    The table is made when the first name is. A wiki that is not in Postgres knows nobody.
    """

    def __init__(self, app: Application[UUID]) -> None:
        recorder = app.recorder
        self._datastore = (
            recorder.datastore if isinstance(recorder, PostgresApplicationRecorder) else None
        )

    def remember(self, names: Mapping[UUID, str]) -> None:
        """Take note of what users are called now."""
        told = {user_id: shown for user_id, name in names.items() if (shown := _fit(name))}
        if not told:
            return
        given = [list(told), list(told.values())]
        try:
            self._execute(UPSERT, given)
        except ProgrammingError as error:
            if not isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                _complain_of_rights(error)
            elif self._made():
                self._execute(UPSERT, given)

    def names(self, user_ids: Collection[UUID | None]) -> dict[UUID, str]:
        """Return what users are called, of those that are known, in one query."""
        wanted = list({user_id for user_id in user_ids if user_id})
        try:
            rows = self._execute(SELECT, [wanted]) if wanted else []
        except ProgrammingError as error:
            if not isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                _complain_of_rights(error)
            return {}
        return {row["user_id"]: row["name"] for row in rows}

    def forget(self, user_id: UUID) -> None:
        """Delete what a user is called. Its changes stay, of somebody without a name."""
        if self.names([user_id]):
            self._execute(DELETE, [user_id])

    def _made(self) -> bool:
        try:
            self._execute(CREATE, [])
        except ProgrammingError as error:
            _complain_of_rights(error)
            return False
        return True

    def _execute(self, statement: LiteralString, given: list[Any]) -> list[dict[str, Any]]:
        if self._datastore is None:
            return []
        people = sql.Identifier(self._datastore.schema, TABLE)
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(sql.SQL(statement).format(people=people), given)
            return cursor.fetchall() if cursor.description else []


def _fit(name: str) -> str:
    """Return a name in one line, without what Postgres refuses."""
    carried = name.encode(errors="ignore").decode().replace("\0", "")
    return " ".join(carried.split())[:MOST_CHARS]


def _complain_of_rights(error: ProgrammingError) -> None:
    """Say that names are not kept. Without them the wiki is as good, and says who by number."""
    if not isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
        raise error
    logger.warning(
        "the names of users are neither kept nor shown, for want of rights: "
        "`eventsourcing-kafka compose grants postgres` prints them"
    )
