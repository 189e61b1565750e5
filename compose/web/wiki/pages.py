"""Pages: read, listed, made, changed, and how they came to be as they are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from compose.web.acting.forms import Form, submitting
from compose.web.showing import page as shown
from compose.web.showing import path_of
from compose.web.wiki.model import NoSuchVersionError, wiki_of
from compose.web.wiki.reading import has_own_writes, wrote
from consumer.activity.queries import changes as recent_changes
from consumer.activity.queries import contributors as most_active
from consumer.fts.reading import read_page
from consumer.store import ViewMissingError
from producer.contentmanagement.application import (
    InvalidPageError,
    PageChangedError,
    PageNotFoundError,
    SlugConflictError,
)
from producer.contentmanagement.diff import create_diff

PER_PAGE = 50
LATEST = 20
LARGEST_NUMBER = 2**31 - 1
MOST_DIGITS = 18


async def home(request: Request) -> Response:
    """Show what changed last."""
    wiki = wiki_of(request)
    fresh = await has_own_writes(request, wiki.activity)
    with suppress(ViewMissingError):
        changes = await recent_changes(wiki.activity, LATEST)
        return shown(request, "wiki/home", changes=changes, fresh=fresh)
    return shown(request, "wiki/home", changes=[], fresh=False)


async def read(request: Request) -> Response:
    """Show a page."""
    wiki = wiki_of(request)
    slug: str = request.path_params["slug"]
    fresh = await has_own_writes(request, wiki.search)
    page_id = await _found(request)
    page = await read_page(wiki.search, page_id)
    if page is None:
        return shown(request, "wiki/coming", status=503, slug=slug)
    return shown(request, "wiki/page", page=page, slug=slug, fresh=fresh)


async def history(request: Request) -> Response:
    """Show who changed a page when, and how."""
    wiki = wiki_of(request)
    page_id = await _found(request)
    before = _number(request, "before", LARGEST_NUMBER)
    changes = await wiki.changes(page_id, before=before, limit=PER_PAGE)
    return shown(
        request,
        "wiki/history",
        slug=request.path_params["slug"],
        changes=[(type(change).__name__, change) for change in changes],
        more=changes[-1].originator_version - 1 if changes else 0,
    )


async def earlier(request: Request) -> Response:
    """Show a page as it was."""
    version: int = request.path_params["version"]
    page_id = await _found(request)
    try:
        page = await wiki_of(request).earlier(page_id, version)
    except NoSuchVersionError as error:
        raise HTTPException(404, str(error)) from None
    return shown(request, "wiki/earlier", page=page, slug=request.path_params["slug"])


async def all_pages(request: Request) -> Response:
    """List pages in the order of their creation, in parts: `gt`, `lte`, `desc`, `limit`."""
    gt, lte = _number(request, "gt"), _number(request, "lte")
    desc = request.query_params.get("desc") in ("1", "true")
    limit = min(_number(request, "limit", PER_PAGE), 10 * PER_PAGE)
    pages = await wiki_of(request).pages(
        gt=gt or None, lte=lte or None, desc=desc, limit=max(1, limit)
    )
    following = None
    if len(pages) == limit:
        following = {"lte": pages[-1].number - 1, "desc": 1} if desc else {"gt": pages[-1].number}
    return shown(request, "wiki/pages", pages=pages, desc=desc, limit=limit, following=following)


async def contributors(request: Request) -> Response:
    """List who changed most."""
    found = await most_active(wiki_of(request).activity, PER_PAGE)
    return shown(request, "wiki/contributors", contributors=found)


async def new(request: Request) -> Response:
    """Ask for the title and the slug of a new page."""
    given = {"title": request.query_params.get("title", ""), "slug": ""}
    return shown(request, "wiki/new", given=given, faults={})


@submitting
async def create(request: Request, form: Form) -> Response:
    """Make a page, and go on to its text."""
    wiki = wiki_of(request)
    title, slug = form.get("title", ""), form.get("slug", "").strip()
    try:
        position = await wiki.do(wiki.commands.create_page, title, slug)
    except (InvalidPageError, SlugConflictError) as error:
        return shown(request, "wiki/new", status=422, given=form, faults=_faults(error))
    wrote(request, position, await wiki.page_id(slug))
    return RedirectResponse(path_of(slug, "edit"), 303)


async def edit(request: Request) -> Response:
    """Ask for the text of a page, as the write model has it."""
    page = await wiki_of(request).page(await _found(request))
    return shown(
        request,
        "wiki/edit",
        slug=request.path_params["slug"],
        body=page.body,
        version=page.version,
        theirs=None,
        faults={},
    )


@submitting
async def save(request: Request, form: Form) -> Response:
    """Replace the text of a page, unless somebody else has changed it since."""
    wiki = wiki_of(request)
    slug: str = request.path_params["slug"]
    page_id = await _found(request)
    # A browser sends other ends of lines than it was given.
    body = form.get("body", "").replace("\r\n", "\n")
    version = _natural(form.get("version", ""))
    try:
        position = await wiki.do(wiki.commands.update_body, slug, body, version=version)
    except PageChangedError:
        theirs = await wiki.page(page_id)
        return shown(
            request,
            "wiki/edit",
            status=409,
            slug=slug,
            body=body,
            version=theirs.version,
            theirs=theirs.body,
            diff=create_diff(theirs.body, body),
            faults={},
        )
    except InvalidPageError as error:
        return shown(
            request,
            "wiki/edit",
            status=422,
            slug=slug,
            body=body,
            version=version,
            theirs=None,
            faults=_faults(error),
        )
    wrote(request, position, page_id)
    return RedirectResponse(path_of(slug), 303)


async def names(request: Request) -> Response:
    """Ask for another title or slug of a page."""
    page = await wiki_of(request).page(await _found(request))
    given = {"title": page.title, "slug": page.slug}
    return shown(request, "wiki/names", slug=page.slug, given=given, faults={})


@submitting
async def rename(request: Request, form: Form) -> Response:
    """Give a page another title, another slug, or both."""
    wiki = wiki_of(request)
    slug: str = request.path_params["slug"]
    page = await wiki.page(await _found(request))
    title, other = form.get("title", ""), form.get("slug", "").strip()
    try:
        if title != page.title:
            position = await wiki.do(wiki.commands.update_title, slug, title)
            wrote(request, position, page.id)
        if other != slug:
            position = await wiki.do(wiki.commands.update_slug, slug, other)
            wrote(request, position, page.id)
    except (InvalidPageError, SlugConflictError) as error:
        return shown(
            request, "wiki/names", status=422, slug=slug, given=form, faults=_faults(error)
        )
    return RedirectResponse(path_of(other), 303)


def _faults(error: InvalidPageError | SlugConflictError) -> Mapping[str, str]:
    """Return what is wrong, by the field that it is to be said beside."""
    if isinstance(error, SlugConflictError):
        return {"slug": "another page has this slug: choose another one"}
    return {error.field: str(error)}


async def _found(request: Request) -> UUID:
    slug: str = request.path_params["slug"]
    try:
        return await wiki_of(request).page_id(slug)
    except PageNotFoundError:
        raise HTTPException(404, f"There is no page {slug!r}.") from None


def _number(request: Request, name: str, default: int = 0) -> int:
    text = request.query_params.get(name)
    return default if text is None else _natural(text)


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
        raise HTTPException(400, f"{text[:20]!r} is not a number from 0.")
    return min(int(text), LARGEST_NUMBER)


ROUTES = [
    Route("/", home),
    Route("/pages", all_pages),
    Route("/contributors", contributors),
    Route("/new", new),
    Route("/new", create, methods=["POST"]),
    Route("/wiki/{slug:path}", read, name="read"),
    Route("/edit/{slug:path}", edit),
    Route("/edit/{slug:path}", save, methods=["POST"]),
    Route("/names/{slug:path}", names),
    Route("/names/{slug:path}", rename, methods=["POST"]),
    Route("/history/{slug:path}", history),
    Route("/earlier/{version:int}/{slug:path}", earlier),
]
