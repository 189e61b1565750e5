"""Searching, and the part of the page that is replaced while somebody types."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from compose.web.showing import page as shown
from compose.web.wiki.model import wiki_of
from compose.web.wiki.reading import has_own_writes
from consumer.fts.search import SearchTooLongError
from producer.wire.terminal import SettingsError

PER_PAGE = 10
LAST_PAGE = 100
LONGEST_QUERY = 500


async def search(request: Request) -> Response:
    """Show the pages that match, the best first."""
    wiki = wiki_of(request)
    query = request.query_params.get("q", "")[:LONGEST_QUERY]
    number = _page_number(request.query_params.get("page", "1"))
    fresh = await has_own_writes(request, wiki.search)
    fault, found = "", []
    if query.strip():
        try:
            # One more than is shown tells whether there is another page.
            found = await wiki.searcher.search(
                query, limit=PER_PAGE + 1, offset=(number - 1) * PER_PAGE
            )
        except (SettingsError, SearchTooLongError) as error:
            fault = str(error)
    return shown(
        request,
        "wiki/results" if "part" in request.query_params else "wiki/search",
        query=query,
        found=found[:PER_PAGE],
        number=number,
        more=len(found) > PER_PAGE and number < LAST_PAGE,
        fault=fault,
        fresh=fresh,
    )


def _page_number(text: str) -> int:
    return min(int(text), LAST_PAGE) if text.isdecimal() and int(text[:9]) > 0 else 1


ROUTES = [Route("/search", search, name="search")]
