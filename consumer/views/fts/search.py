"""Searching the view."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString, Self
from uuid import UUID

import anyio
import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row

from eventsourcing_kafka.consumer.engine.store import NOT_THERE, ViewMissingError, ViewStore
from eventsourcing_kafka.consumer.views.fts.parts import read_query
from eventsourcing_kafka.consumer.views.fts.query import checked
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.postgres import SessionPool

START, STOP = "\ue000", "\ue001"
"""Private characters around what matched: to be replaced by whatever marks it where it is shown."""

MOST_RANKED = 1000
"""Of so many pages that match the best are found, and of as many whose titles match."""

MOST_SECONDS = 5
"""A search that takes longer is ended."""

# Which pages are ranked, of too many, is to be the same for one page of results and the next:
# so a scan begins at the beginning, and is one. A plan is compiled longer than it runs.
SESSION = {
    "statement_timeout": f"{MOST_SECONDS}s",
    "work_mem": "16MB",
    "synchronize_seqscans": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}

# Ranking is what takes time: it reads all that is indexed of a page. A query that no index
# helps, as it only says what pages are without, is as true of a title without it as of a page.
# Snippets are cut for the few pages shown, of the first slice of a body that has a match: its
# words are made out anew, ten times as slowly as a page is ranked. A name that is searched for by
# its parts is not among those words: it is marked as it was typed.
SEARCH: LiteralString = """
    WITH candidate AS (
        (SELECT id, ts_rank('{{0.1, 0.1, 0.1, 1.0}}', document, query) AS rank
           FROM {schema}.pages,
                websearch_to_tsquery({schema}.language(), %(query)s) AS query
          WHERE querytree(query) <> 'T'
            AND ts_filter(document, '{{a}}') @@ query
            AND document @@ query
          LIMIT %(most)s)
        UNION
        (SELECT id, ts_rank('{{0.1, 0.1, 0.1, 1.0}}', document, query) AS rank
           FROM {schema}.pages,
                websearch_to_tsquery({schema}.language(), %(query)s) AS query
          WHERE document @@ query
          LIMIT %(most)s)
    ),
    found AS (
        SELECT id, rank, least(count(*) OVER (), %(most)s) AS matches
          FROM candidate
         ORDER BY rank DESC, id
         LIMIT %(limit)s OFFSET %(offset)s
    )
    SELECT id, slug, title, rank, matches,
           EXISTS (SELECT FROM {schema}.parked
                    WHERE originator_id = found.id::text AND position IS NOT NULL) AS stale,
           CASE WHEN title ~* %(names)s
                THEN regexp_replace(title, %(names)s, %(marked)s, 'gi')
                ELSE ts_headline({schema}.language(), title, query, %(whole)s)
            END AS title_marked,
           coalesce(
               (SELECT regexp_replace(around, %(names)s, %(marked)s, 'gi')
                  FROM regexp_instr(left(body, %(seen)s), %(names)s, 1, 1, 0, 'i') AS place,
                       substr(body, greatest(1, place - %(before)s), %(around)s) AS around
                 WHERE place > 0),
               (SELECT snippet
                  FROM generate_series(1, least(length(body), %(seen)s), %(slice)s) AS begin,
                       substr(body, begin, %(slice)s) AS slice,
                       ts_headline({schema}.language(), slice, query, %(fragments)s) AS snippet
                 WHERE strpos(snippet, %(start)s) > 0
                 LIMIT 1),
               ts_headline({schema}.language(), left(body, %(slice)s), query, %(fragments)s)
           ) AS snippet
      FROM found
      JOIN {schema}.pages USING (id),
           websearch_to_tsquery({schema}.language(), %(query)s) AS query
     ORDER BY rank DESC, id
"""

WHOLE = f"HighlightAll=true, StartSel={START}, StopSel={STOP}"
FRAGMENTS = (
    f"StartSel={START}, StopSel={STOP}, MaxFragments=2, MinWords=6, MaxWords=18, "
    'FragmentDelimiter=" … "'
)


MARKED = rf"{START}\&{STOP}"
BEFORE, AROUND = 80, 240
"""Characters before a name, and of all that is shown around it."""

SLICE = 10_000
SEEN = 100_000
"""Characters of a body that a snippet may come from."""


class SearchResult(msgspec.Struct, frozen=True):
    """A page that matches a query."""

    id: UUID
    slug: str
    title: str
    rank: float
    matches: int
    """How many pages match the query. `MOST_RANKED` stands for that many or more."""
    stale: bool
    """An event of the page is parked: it is shown as it was before."""
    title_marked: str
    """The title, with what matched between `START` and `STOP`."""
    snippet: str
    """Parts of the body, marked likewise; its beginning if there is nothing to mark early in it."""


class SearchTooLongError(OperatorError):
    """A search was ended before it had an answer."""

    def __init__(self) -> None:
        super().__init__(
            f"The search took more than {MOST_SECONDS} seconds, and was ended. Add a word that "
            "fewer pages have, or take a phrase apart into words."
        )


async def search(
    store: ViewStore,
    query: str,
    *,
    limit: int = 10,
    offset: int = 0,
    most_ranked: int = MOST_RANKED,
) -> list[SearchResult]:
    """Return the pages that match, the best first; a match in the title counts for more.

    `query` is as in web searches: words, `"phrases"`, `OR`, `-without`; of names, such as paths,
    versions and addresses, and of scripts without spaces, parts are found. One without any word
    matches nothing. Of a query that more than `most_ranked` pages match, that many are ranked,
    and as many whose titles match; no other is among the results, whatever the `offset`. With
    fewer, all are, in their exact order.

    Raises `SettingsError` for a query that no page could hold, `ViewMissingError` before any
    consumer ran, and `SearchTooLongError`.
    """
    checked(query)
    async with store.connected(SESSION) as connection:
        return await _found(store, connection, query, limit, offset, most_ranked)


class Searcher(anyio.AsyncContextManagerMixin):
    """Searches on connections that stay open: for a program that searches a lot.

    Any number of tasks may search at once; they share so many connections.
    """

    _pool: SessionPool

    def __init__(self, store: ViewStore, *, connections: int = 4) -> None:
        self._store = store
        self._connections = connections

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncIterator[Self]:
        async with self._store.pool(SESSION, self._connections) as self._pool:
            yield self

    async def search(self, query: str, *, limit: int = 10, offset: int = 0) -> list[SearchResult]:
        """Return what `search` returns; raises `PoolTimeout`, too, while there is no server."""
        checked(query)
        async with self._pool.connection() as connection:
            return await _found(self._store, connection, query, limit, offset, MOST_RANKED)


async def _found(
    store: ViewStore,
    connection: AsyncConnection[Any],
    query: str,
    limit: int,
    offset: int,
    most_ranked: int,
) -> list[SearchResult]:
    read = read_query(query)
    parameters: dict[str, Any] = {
        "query": read.text,
        "names": "|".join(map(re.escape, read.names)) or None,
        "marked": MARKED,
        "before": BEFORE,
        "around": AROUND,
        "most": most_ranked,
        "limit": limit,
        "offset": offset,
        "whole": WHOLE,
        "fragments": FRAGMENTS,
        "start": START,
        "slice": SLICE,
        "seen": SEEN,
    }
    cursor = connection.cursor(row_factory=class_row(SearchResult))
    try:
        # A plan is good for one query: how many pages have its words decides.
        await cursor.execute(store.sql(SEARCH), parameters, prepare=False)
    except NOT_THERE as error:
        raise ViewMissingError(store.view) from error
    except psycopg.errors.QueryCanceled as error:
        raise SearchTooLongError from error
    return await cursor.fetchall()
