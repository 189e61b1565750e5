"""Records the search view in Postgres, with the library's own recorder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresDatastore, PostgresProcessRecorder
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier

from eventsourcing_kafka.consumer.views.fts.application import FtsRecorder
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo

CREATE_PAGES: LiteralString = """
    CREATE TABLE IF NOT EXISTS {pages} (
        id uuid PRIMARY KEY,
        version bigint NOT NULL,
        slug text NOT NULL,
        title text NOT NULL,
        body text NOT NULL
    )
"""

# A tsvector holds at most one megabyte, and a body can make three times its size of it.
DOCUMENT: LiteralString = "to_tsvector('english', title || ' ' || left(body, 300000))"

CREATE_INDEX: LiteralString = f"""
    CREATE INDEX IF NOT EXISTS {{index}} ON {{pages}}
     USING gin ({DOCUMENT})
"""

INSERT_PAGE: LiteralString = """
    INSERT INTO {pages} (id, version, slug, title, body)
    VALUES (%(id)s, %(version)s, %(slug)s, %(title)s, %(body)s)
"""

UPDATE_PAGE: LiteralString = """
    UPDATE {pages}
       SET version = %(version)s, slug = %(slug)s, title = %(title)s, body = %(body)s
     WHERE id = %(id)s
"""

SELECT_PAGE: LiteralString = """
    SELECT id, version, slug, title, body FROM {pages} WHERE id = %s
"""

SEARCH_PAGES: LiteralString = f"""
    SELECT id
      FROM {{pages}}, websearch_to_tsquery('english', %s) AS query
     WHERE {DOCUMENT} @@ query
     ORDER BY ts_rank({DOCUMENT}, query) DESC, id
"""  # noqa: S608 - constants only


class PostgresFtsProcessRecorder(FtsRecorder, PostgresProcessRecorder):
    """Records pages, tracking and events in one Postgres transaction."""

    def __init__(
        self,
        datastore: PostgresDatastore,
        *,
        events_table_name: str = "stored_events",
        tracking_table_name: str = "notification_tracking",
    ) -> None:
        super().__init__(
            datastore,
            events_table_name=events_table_name,
            tracking_table_name=tracking_table_name,
        )
        self._pages_table_name = events_table_name.removesuffix("_events") + "_pages"
        self.check_identifier_length(self._pages_table_name)
        self.sql_create_statements += [self._sql(CREATE_PAGES), self._sql(CREATE_INDEX)]

    def _insert_events(
        self,
        curs: Cursor[DictRow],
        stored_events: Sequence[StoredEvent],
        *,
        insert_pages: Sequence[PageInfo] = (),
        update_pages: Sequence[PageInfo] = (),
        **kwargs: Any,
    ) -> None:
        super()._insert_events(curs, stored_events, **kwargs)
        for page in insert_pages:
            curs.execute(self._sql(INSERT_PAGE), page._asdict(), prepare=True)
        for page in update_pages:
            curs.execute(self._sql(UPDATE_PAGE), page._asdict(), prepare=True)

    def select_page(self, page_id: UUID) -> PageInfo | None:
        """Return the page with this ID, None if there is none."""
        with self.datastore.get_connection() as connection, connection.cursor() as curs:
            row = curs.execute(self._sql(SELECT_PAGE), [page_id], prepare=True).fetchone()
            return PageInfo(**row) if row else None

    def search_pages(self, query: str) -> list[UUID]:
        """Return the IDs of the pages that match, the best match first."""
        with self.datastore.get_connection() as connection, connection.cursor() as curs:
            rows = curs.execute(self._sql(SEARCH_PAGES), [query], prepare=True)
            return [row["id"] for row in rows]

    def _sql(self, statement: LiteralString) -> Composed:
        return SQL(statement).format(
            pages=Identifier(self.datastore.schema, self._pages_table_name),
            index=Identifier(self._pages_table_name + "_document"),
        )
