"""The search view of the async consumer: its tables, and what a batch reads and writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection, sql

from eventsourcing_kafka.consumer.unit_of_work import Event, Place
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.fts.audit import audit
from eventsourcing_kafka.consumer.views.fts.parts import heading_of, parts_of
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo, policy
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.contentmanagement.published import EVENT_TYPES
from eventsourcing_kafka.producer.wire import EventTypes

CREATE_LANGUAGE: LiteralString = """
    CREATE FUNCTION {schema}.language() RETURNS regconfig
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN {language}::regconfig
"""

# A tsvector holds at most one megabyte: a longer body is indexed as far as that goes.
CREATE_DOCUMENT: LiteralString = """
    CREATE FUNCTION {schema}.document(heading text, body text, parts text) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    DECLARE
        titled tsvector := setweight(to_tsvector({language}, heading), 'A');
        indexed text := body || ' ' || parts;
    BEGIN
        LOOP
            BEGIN
                RETURN titled || setweight(to_tsvector({language}, indexed), 'B');
            EXCEPTION WHEN program_limit_exceeded THEN
                indexed := left(indexed, length(indexed) * 4 / 5);
            END;
        END LOOP;
    END
    $$
"""

# `skipped` is the last of the events after `version` that were given up. Whether they were the
# page's own shows when the next one comes: it may follow the one or the other. A document that
# fits is kept in the row: a search that ranks many pages would look up each one's elsewhere.
# `heading` and `parts` are indexed beside the body: what names the page, and parts of names in it.
CREATE_PAGES: LiteralString = """
    CREATE TABLE {schema}.pages (
        id uuid PRIMARY KEY,
        partition integer NOT NULL,
        version bigint NOT NULL,
        slug text NOT NULL,
        title text NOT NULL,
        body text NOT NULL,
        heading text NOT NULL,
        parts text NOT NULL,
        document tsvector NOT NULL,
        skipped bigint NOT NULL DEFAULT 0
    ) WITH (toast_tuple_target = 8160)
"""

# To compress documents gains nothing, and bodies half of their space, for a tenth of all that
# Postgres does. And a snippet is cut out of a body without unpacking all of it.
STORE_UNCOMPRESSED: LiteralString = """
    ALTER TABLE {schema}.pages
        ALTER body SET STORAGE external,
        ALTER parts SET STORAGE external,
        ALTER document SET STORAGE external
"""

CREATE_INDEX: LiteralString = """
    CREATE INDEX IF NOT EXISTS pages_document ON {schema}.pages USING gin (document)
"""

# It finds the pages that a search must not miss, however many others match.
CREATE_TITLE_INDEX: LiteralString = """
    CREATE INDEX IF NOT EXISTS pages_titled
        ON {schema}.pages USING gin (ts_filter(document, '{{a}}'))
"""

SELECT_PAGES: LiteralString = """
    SELECT id, version, slug, title, body, skipped
      FROM {schema}.pages
     WHERE id = ANY(%b)
"""

# Bodies are long: they go binary, and need no quoting. Of a NUL in a title psycopg tells better.
UPSERT_PAGES: LiteralString = """
    INSERT INTO {schema}.pages (
           id, partition, version, skipped, slug, title, body, heading, parts, document)
    SELECT id, partition, version, skipped, slug, title, body, heading, parts,
           {schema}.document(heading, body, parts)
      FROM unnest(%b::integer[], %b::bigint[], %b::uuid[], %b::bigint[],
                  %t::text[], %t::text[], %b::text[], %t::text[], %b::text[])
           AS page (partition, skipped, id, version, slug, title, body, heading, parts)
        ON CONFLICT (id) DO UPDATE
       SET version = excluded.version, skipped = excluded.skipped, slug = excluded.slug,
           title = excluded.title, body = excluded.body, heading = excluded.heading,
           parts = excluded.parts, document = excluded.document
"""


WRITTEN_AT_ONCE = 1_000_000
"""Characters of bodies: on the way to Postgres they are in memory several times."""


class PagesUnitOfWork:
    """The pages that a batch concerns."""

    def __init__(self, schema: str) -> None:
        self._schema = sql.Identifier(schema)
        self._pages: dict[UUID, PageInfo] = {}
        self._skipped: dict[UUID, int] = {}
        self._changed: dict[UUID, tuple[int, PageInfo]] = {}

    async def read(
        self,
        connection: AsyncConnection[Any],
        originators: Collection[str],
        events: Sequence[Event],
    ) -> None:
        """Read the pages of the events, in one query."""
        ids = list({event.originator_id for event in events} | set(_uuids(originators)))
        if not ids:
            return
        cursor = connection.cursor(binary=True)
        await cursor.execute(self._sql(SELECT_PAGES), [ids])
        async for *page, skipped in cursor:
            self._pages[page[0]] = PageInfo(*page)
            self._skipped[page[0]] = skipped

    def apply(self, event: Event, place: Place) -> None:
        """Apply the policy to the page of the event."""
        page = self._pages.get(event.originator_id)
        skipped = self._skipped.get(event.originator_id, 0)
        if page and event.originator_version == skipped + 1 > page.version:
            page = page._replace(version=skipped)
        changed = policy(event, page)
        if changed:
            self._change(changed, place.partition)

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Let the page go on behind a dropped event."""
        for page in map(self._pages.get, _uuids([originator_id])):
            if page and version == max(page.version, self._skipped.get(page.id, 0)) + 1:
                self._skipped[page.id] = version
                self._change(page, place.partition)

    def _change(self, page: PageInfo, partition: int) -> None:
        self._pages[page.id] = page
        self._changed[page.id] = partition, page

    async def write(self, connection: AsyncConnection[Any]) -> None:
        """Write each changed page once."""
        for pages in _in_parts(self._changed.values()):
            rows = (
                (
                    partition,
                    self._skipped.get(page.id, 0),
                    *page,
                    heading_of(page),
                    parts_of(page.body),
                )
                for partition, page in pages
            )
            columns = [list(column) for column in zip(*rows, strict=True)]
            await connection.execute(self._sql(UPSERT_PAGES), columns)

    def _sql(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(schema=self._schema)


def _in_parts(
    changed: Iterable[tuple[int, PageInfo]],
) -> Iterator[Sequence[tuple[int, PageInfo]]]:
    """Yield them in parts whose bodies have about `WRITTEN_AT_ONCE` characters."""
    part: list[tuple[int, PageInfo]] = []
    characters = 0
    for partition, page in changed:
        part.append((partition, page))
        characters += len(page.body)
        if characters > WRITTEN_AT_ONCE:
            yield part
            part, characters = [], 0
    if part:
        yield part


def _uuids(originators: Collection[str]) -> Iterator[UUID]:
    """Yield those that are; what can't be read as a record may have anything for a key."""
    for originator in originators:
        with suppress(ValueError):
            yield UUID(originator)


VIEW = View(
    name="fts",
    application_name="ContentManagement",
    application_topic="eventsourcing_kafka.producer.contentmanagement.application:ContentManagement",
    audit=audit,
    types=EVENT_TYPES,
    wanted=EventTypes.of(Page),
    tables=["pages"],
    aggregate_columns={"pages": "id"},
    create=[CREATE_LANGUAGE, CREATE_DOCUMENT, CREATE_PAGES, STORE_UNCOMPRESSED],
    indexes=[CREATE_INDEX, CREATE_TITLE_INDEX],
    unit_of_work=PagesUnitOfWork,
    sent_ahead=True,
    settings={"language": "english"},
)
