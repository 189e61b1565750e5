"""The search view of the async consumer: its tables, and what a batch reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection, sql

from consumer.fts.policy import PageInfo, policy
from consumer.unit_of_work import Event
from consumer.view import View
from producer.contentmanagement.domainmodel import Page, PageLogged, Slug
from producer.wire import EventTypes

CREATE_LANGUAGE: LiteralString = """
    CREATE FUNCTION {schema}.language() RETURNS regconfig
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN {language}::regconfig
"""

# A tsvector holds at most one megabyte: a longer body is indexed as far as that goes.
CREATE_DOCUMENT: LiteralString = """
    CREATE FUNCTION {schema}.document(title text, body text) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    DECLARE
        indexed integer := length(body);
    BEGIN
        LOOP
            BEGIN
                RETURN setweight(to_tsvector({schema}.language(), title), 'A')
                    || setweight(to_tsvector({schema}.language(), left(body, indexed)), 'B');
            EXCEPTION WHEN program_limit_exceeded THEN
                indexed := indexed * 4 / 5;
            END;
        END LOOP;
    END
    $$
"""

CREATE_PAGES: LiteralString = """
    CREATE TABLE {schema}.pages (
        id uuid PRIMARY KEY,
        version bigint NOT NULL,
        slug text NOT NULL,
        title text NOT NULL,
        body text NOT NULL,
        document tsvector NOT NULL
    )
"""

CREATE_INDEX: LiteralString = """
    CREATE INDEX pages_document ON {schema}.pages USING gin (document)
"""

SELECT_PAGES: LiteralString = """
    SELECT id, version, slug, title, body
      FROM {schema}.pages
     WHERE id = ANY(%s)
"""

UPSERT_PAGES: LiteralString = """
    INSERT INTO {schema}.pages (id, version, slug, title, body, document)
    SELECT id, version, slug, title, body, {schema}.document(title, body)
      FROM unnest(%s::uuid[], %s::bigint[], %s::text[], %s::text[], %s::text[])
           AS page (id, version, slug, title, body)
        ON CONFLICT (id) DO UPDATE
       SET version = excluded.version, slug = excluded.slug, title = excluded.title,
           body = excluded.body, document = excluded.document
"""


class PagesUnitOfWork:
    """The pages that a batch concerns."""

    def __init__(self, schema: str) -> None:
        self._schema = sql.Identifier(schema)
        self._pages: dict[UUID, PageInfo] = {}
        self._changed: dict[UUID, PageInfo] = {}

    async def read(self, connection: AsyncConnection[Any], events: Sequence[Event]) -> None:
        """Read the pages of the events, in one query."""
        ids = list({event.originator_id for event in events})
        cursor = connection.cursor(binary=True)
        await cursor.execute(self._sql(SELECT_PAGES), [ids])
        self._pages = {row[0]: PageInfo(*row) async for row in cursor}

    def apply(self, event: Event) -> None:
        """Apply the policy to the page of the event."""
        changed = policy(event, self._pages.get(event.originator_id))
        if changed:
            self._pages[changed.id] = self._changed[changed.id] = changed

    async def write(self, connection: AsyncConnection[Any]) -> None:
        """Write each changed page once."""
        if self._changed:
            columns = [list(column) for column in zip(*self._changed.values(), strict=True)]
            await connection.execute(self._sql(UPSERT_PAGES), columns)

    def _sql(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(schema=self._schema)


VIEW = View(
    name="fts",
    application_name="ContentManagement",
    types=EventTypes.of(Page, Slug, PageLogged),
    wanted=EventTypes.of(Page),
    create=[CREATE_LANGUAGE, CREATE_DOCUMENT, CREATE_PAGES, CREATE_INDEX],
    unit_of_work=PagesUnitOfWork,
    settings={"language": "english"},
)
