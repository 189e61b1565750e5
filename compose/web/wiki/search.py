"""Searching, and the part of the page that is replaced while somebody types."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventsourcing_kafka.compose.web.rendering import render
from eventsourcing_kafka.compose.web.wiki.model import wiki_of
from eventsourcing_kafka.compose.web.wiki.own_writes import has_own_writes
from eventsourcing_kafka.consumer.views.fts.search import (
    MOST_RANKED,
    SearchResult,
    SearchTooLongError,
)
from eventsourcing_kafka.producer.runtime.errors import SettingsError

PER_PAGE = 10
LAST_PAGE = MOST_RANKED // PER_PAGE
LONGEST_QUERY = 500
MOST_DIGITS = 9


async def search(request: Request) -> Response:
    """Show the pages that match, the best first."""
    wiki = wiki_of(request)
    query = request.query_params.get("q", "")[:LONGEST_QUERY]
    number = _page_number(request.query_params.get("page", "1"))
    fresh = await has_own_writes(request, wiki.search)
    first = (number - 1) * PER_PAGE + 1
    fault, found = "", []
    if query.strip():
        try:
            # One more than is shown tells whether there is another page.
            found = await wiki.searcher.search(query, limit=PER_PAGE + 1, offset=first - 1)
        except (SettingsError, SearchTooLongError) as error:
            fault = str(error)
    return render(
        request,
        "wiki/results" if "part" in request.query_params else "wiki/search",
        query=query,
        found=found[:PER_PAGE],
        count=_count(found),
        number=number,
        first=first,
        more=len(found) > PER_PAGE and number < LAST_PAGE,
        fault=fault,
        fresh=fresh,
    )


def _count(found: Sequence[SearchResult]) -> str:
    """Say how many pages match."""
    matches = found[0].matches if found else 0
    if matches >= MOST_RANKED:
        return f"{MOST_RANKED:,} pages match, or more"
    return "One page matches" if matches == 1 else f"{matches:,} pages match"


def _page_number(text: str) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
    return min(max(1, int(text)), LAST_PAGE) if is_number else 1


ROUTES = [Route("/search", search, name="search")]
