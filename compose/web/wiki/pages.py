"""Pages: read, listed, and how they came to be as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventsourcing_kafka.compose.web.rendering import render
from eventsourcing_kafka.compose.web.wiki.model import Listed, NoSuchVersionError, Wiki, wiki_of
from eventsourcing_kafka.compose.web.wiki.own_writes import has_own_writes
from eventsourcing_kafka.compose.web.wiki.parameters import (
    LARGEST_NUMBER,
    natural,
    number,
    page_id_of,
    slug_of,
)
from eventsourcing_kafka.compose.web.wiki.rendering import body_as_html
from eventsourcing_kafka.consumer.engine.store import ViewMissingError
from eventsourcing_kafka.consumer.views.activity.queries import RecentChange
from eventsourcing_kafka.consumer.views.activity.queries import changes as recent_changes
from eventsourcing_kafka.consumer.views.fts.reading import read_page
from eventsourcing_kafka.producer.contentmanagement.application import PageNotFoundError
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page

PER_PAGE = 50
MOST_PER_PAGE = 500
CHANGES_PER_PAGE = 20
LATEST = 60
"""Changes that the first page tells of."""

LINES_IN_HISTORY = 40
MOST_LINES = 10_000


class Edits(NamedTuple):
    """What one user did to one page, in one go."""

    slug: str | None
    title: str | None
    user_id: UUID | None
    did: Sequence[str]
    """Names of events, each once, the first one first."""
    version: int
    """Of the page, after it."""
    at: datetime


def grouped(changes: Iterable[RecentChange]) -> Iterator[Edits]:
    """Yield changes, the newest first, of which those in one go are put together."""
    for _, group in groupby(changes, key=lambda change: (change.page_id, change.user_id)):
        first, *rest = group
        did = dict.fromkeys(change.change for change in (*reversed(rest), first))
        yield Edits(first.slug, first.title, first.user_id, [*did], first.version, first.changed_at)


async def home(request: Request) -> Response:
    """Show where to search, and what changed last."""
    wiki = wiki_of(request)
    fresh = await has_own_writes(request, wiki.activity)
    changes: Sequence[Edits] | None = None
    with suppress(ViewMissingError):
        changes = [*grouped(await recent_changes(wiki.activity, LATEST))]
    names = await wiki.names([change.user_id for change in changes or ()])
    empty = not changes and not await wiki.count()
    return render(
        request,
        "wiki/home",
        changes=changes or (),
        names=names,
        empty=empty,
        fresh=fresh and (empty or changes is not None),
    )


async def read(request: Request) -> Response:
    """Show a page."""
    wiki, slug = wiki_of(request), slug_of(request)
    fresh = await has_own_writes(request, wiki.search)
    try:
        page_id = await wiki.page_id(slug)
    except PageNotFoundError:
        return render(request, "wiki/missing", status=404, slug=slug)
    page = await read_page(wiki.search, page_id)
    if page is None:
        return render(request, "wiki/coming", status=503, slug=slug)
    changes = await wiki.changes(page_id, before=page.version, limit=1)
    names = await _names(wiki, changes)
    last = changes[0] if changes else None
    return render(
        request,
        "wiki/page",
        page=page,
        text=await body_as_html(page.body, slug),
        slug=slug,
        last=last,
        names=names,
        fresh=fresh,
    )


async def history(request: Request) -> Response:
    """Show who changed a page when, and how."""
    wiki = wiki_of(request)
    page_id = await page_id_of(request)
    before = number(request, "before", LARGEST_NUMBER)
    changes = await wiki.changes(page_id, before=before, limit=CHANGES_PER_PAGE)
    return render(
        request,
        "wiki/history",
        slug=slug_of(request),
        changes=changes,
        names=await _names(wiki, changes),
        most_lines=LINES_IN_HISTORY,
        newest="before" not in request.query_params,
        more=changes[-1].originator_version - 1 if changes else 0,
    )


async def one_change(request: Request) -> Response:
    """Show one change of a page, whole."""
    wiki, version = wiki_of(request), _version(request)
    page_id = await page_id_of(request)
    changes = await wiki.changes(page_id, before=version, limit=1)
    if not changes or changes[0].originator_version != version:
        raise HTTPException(404, str(NoSuchVersionError(version)))
    return render(
        request,
        "wiki/change",
        slug=slug_of(request),
        change=changes[0],
        names=await _names(wiki, changes),
        most_lines=MOST_LINES,
    )


async def earlier(request: Request) -> Response:
    """Show a page as it was."""
    wiki, version = wiki_of(request), _version(request)
    page_id = await page_id_of(request)
    try:
        page = await wiki.earlier(page_id, version)
    except NoSuchVersionError as error:
        raise HTTPException(404, str(error)) from None
    names = await wiki.names([page.modified_by])
    slug = slug_of(request)
    text = await body_as_html(page.body, slug)
    return render(request, "wiki/earlier", page=page, text=text, slug=slug, names=names)


async def all_pages(request: Request) -> Response:
    """List pages in the order of their creation, in parts: `gt`, `lte`, `desc`, `limit`."""
    wiki = wiki_of(request)
    fresh = await has_own_writes(request, wiki.search)
    gt, lte = number(request, "gt"), number(request, "lte")
    desc = request.query_params.get("desc") in ("1", "true")
    limit = max(1, min(number(request, "limit", PER_PAGE), MOST_PER_PAGE))
    pages = await wiki.pages(gt=gt or None, lte=lte or None, desc=desc, limit=limit)
    count = await wiki.count()
    kept = {"gt": gt} if desc else {"lte": lte}
    kept = {"limit": limit, **{name: bound for name, bound in kept.items() if bound}}
    last = min(lte or count, count)
    back, on = _neighbours(pages, gt, count if desc else last, limit, desc=desc)
    return render(
        request,
        "wiki/pages",
        pages=pages,
        count=count,
        desc=desc,
        limit=limit,
        back=back and {**back, **kept},
        on=on and {**on, **kept},
        fresh=fresh,
    )


Bounds = Mapping[str, int]


def _neighbours(
    pages: Sequence[Listed], gt: int, last: int, limit: int, *, desc: bool
) -> tuple[Bounds | None, Bounds | None]:
    """Return where the pages before those that are listed are and those after, if there are any.

    The bound that moves is given anew. The other one stays: somebody has asked for it.
    """
    if not pages:
        return None, None
    begin, end = pages[0].number, pages[-1].number
    if desc:
        back = {"desc": 1, "lte": begin + limit} if begin < last else None
        return back, {"desc": 1, "lte": end - 1} if end > gt + 1 else None
    back = {"gt": max(0, begin - 1 - limit)} if begin > 1 else None
    return back, {"gt": end} if end < last else None


async def _names(wiki: Wiki, changes: Iterable[Page.Event]) -> Mapping[UUID, str]:
    return await wiki.names([change.user_id for change in changes])


def _version(request: Request) -> int:
    version: Any = request.path_params["version"]
    return natural(version)


ROUTES = [
    Route("/", home),
    Route("/pages", all_pages),
    Route("/wiki/{slug:path}", read, name="read"),
    Route("/history/{slug:path}", history),
    Route("/change/{version}/{slug:path}", one_change),
    Route("/earlier/{version}/{slug:path}", earlier),
]
