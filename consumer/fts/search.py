"""Searching the view."""

from __future__ import annotations

from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.rows import class_row

from consumer.fts.query import checked
from consumer.store import NOT_THERE, ViewMissingError, ViewStore

START, STOP = "\ue000", "\ue001"
"""Private characters around what matched: to be replaced by whatever marks it where it is shown."""

# Snippets are cut for the few pages shown only: they need the whole body.
SEARCH: LiteralString = """
    WITH found AS (
        SELECT id, slug, title, body, query,
               ts_rank('{{0.1, 0.1, 0.1, 1.0}}', document, query) AS rank
          FROM {schema}.pages,
               websearch_to_tsquery({schema}.language(), %(query)s) AS query
         WHERE document @@ query
         ORDER BY rank DESC, id
         LIMIT %(limit)s OFFSET %(offset)s
    )
    SELECT id, slug, title, rank,
           EXISTS (SELECT FROM {schema}.parked WHERE originator_id = found.id::text) AS stale,
           ts_headline({schema}.language(), title, query, %(whole)s) AS title_marked,
           ts_headline({schema}.language(), body, query, %(fragments)s) AS snippet
      FROM found
     ORDER BY rank DESC, id
"""

WHOLE = f"HighlightAll=true, StartSel={START}, StopSel={STOP}"
FRAGMENTS = (
    f"StartSel={START}, StopSel={STOP}, MaxFragments=2, MinWords=6, MaxWords=18, "
    'FragmentDelimiter=" … "'
)


class SearchResult(msgspec.Struct, frozen=True):
    """A page that matches a query."""

    id: UUID
    slug: str
    title: str
    rank: float
    stale: bool
    """An event of the page is parked: it is shown as it was before."""
    title_marked: str
    """The title, with what matched between `START` and `STOP`."""
    snippet: str
    """Parts of the body, marked likewise."""


async def search(
    store: ViewStore, query: str, *, limit: int = 10, offset: int = 0
) -> list[SearchResult]:
    """Return the pages that match, the best first; a match in the title counts for more.

    `query` is as in web searches: words, `"phrases"`, `OR`, `-without`. One without any word
    matches nothing. Raises `SettingsError` for a query that no page could hold, and
    `ViewMissingError` before any consumer ran.
    """
    statement = sql.SQL(SEARCH).format(schema=sql.Identifier(store.schema))
    parameters: dict[str, Any] = {
        "query": checked(query),
        "limit": limit,
        "offset": offset,
        "whole": WHOLE,
        "fragments": FRAGMENTS,
    }
    async with store.connected() as connection:
        cursor = connection.cursor(row_factory=class_row(SearchResult))
        try:
            await cursor.execute(statement, parameters)
        except NOT_THERE as error:
            raise ViewMissingError(store.view.name) from error
        return await cursor.fetchall()
