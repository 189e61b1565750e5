"""Forms: a new page, its text, its title and its slug.

Each form has one function that shows it, with what was typed so far and what is wrong with that.
"""

from __future__ import annotations

import re
from contextlib import suppress
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from eventsourcing_kafka.compose.web.auth.forms import Faults, Form
from eventsourcing_kafka.compose.web.rendering import render
from eventsourcing_kafka.compose.web.wiki.forms import form_shown_by
from eventsourcing_kafka.compose.web.wiki.model import NoSuchVersionError, wiki_of
from eventsourcing_kafka.compose.web.wiki.own_writes import remember_write
from eventsourcing_kafka.compose.web.wiki.parameters import natural, page_id_of, slug_of
from eventsourcing_kafka.compose.web.wiki.rendering import body_as_html, path_of
from eventsourcing_kafka.producer.contentmanagement.application import (
    InvalidPageError,
    PageChangedError,
    PageNotFoundError,
    SlugConflictError,
)
from eventsourcing_kafka.producer.contentmanagement.diff import create_diff
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.contentmanagement.line_ends import with_line_ends_of

MOVED = "This page has another slug since. Nothing is saved yet: save it once more."
NO_FAULTS: Faults = {}


def show_new_page(
    request: Request, form: Form, faults: Faults = NO_FAULTS, status: int = 200
) -> Response:
    """Ask for the title and the slug of a new page."""
    return render(request, "wiki/new", status=status, given=form, faults=faults)


async def new(request: Request) -> Response:
    """Ask for a new page, whose names may be known."""
    given = {name: request.query_params.get(name, "") for name in ("title", "slug")}
    return show_new_page(request, given)


@form_shown_by(show_new_page)
async def create(request: Request, form: Form) -> Response:
    """Make a page, and go on to its text."""
    wiki = wiki_of(request)
    title = form.get("title", "")
    slug = form.get("slug", "").strip() or slug_from(title)
    try:
        position = await wiki.do(wiki.commands.create_page, title, slug)
    except (InvalidPageError, SlugConflictError) as error:
        return show_new_page(request, {**form, "slug": slug}, _faults(error), 422)
    remember_write(request, position, await wiki.page_id(slug))
    return RedirectResponse(path_of(slug, "edit"), 303)


def slug_from(title: str) -> str:
    """Return the slug that a title suggests: its words, without what addresses are hard to read of.

    >>> slug_from("Roses & other flowers")
    'roses-other-flowers'
    """
    return "-".join(re.findall(r"[\w.]+", title.casefold())).strip(".")


def show_text(
    request: Request,
    form: Form,
    faults: Faults = NO_FAULTS,
    status: int = 200,
    *,
    preview: str = "",
    theirs: Page | None = None,
    slug: str | None = None,
) -> Response:
    """Ask for the text of a page; with `theirs`, which somebody else has saved meanwhile."""
    return render(
        request,
        "wiki/edit",
        status=status,
        slug=slug or slug_of(request),
        given=form,
        faults=faults,
        preview=preview,
        theirs=theirs,
        diff=create_diff(theirs.body, form.get("body", "")) if theirs else "",
    )


async def edit(request: Request) -> Response:
    """Ask for the text of a page, as the write model has it."""
    return show_text(request, _form_of(await wiki_of(request).page(await page_id_of(request))))


@form_shown_by(show_text)
async def save(request: Request, form: Form) -> Response:
    """Replace the text of a page, unless somebody else has changed it since."""
    wiki, slug = wiki_of(request), slug_of(request)
    # A browser sends other ends of lines than it was given.
    body = form.get("body", "").replace("\r\n", "\n")
    form = {**form, "body": body}
    if "preview" in form:
        return show_text(request, form, preview=await body_as_html(body, slug))
    if moved := await _moved(request, form):
        return show_text(request, form, {"form": MOVED}, 409, slug=moved.slug)
    page_id = await page_id_of(request)
    body = with_line_ends_of(await _body_before(request, form, page_id), body)
    form = {**form, "body": body}
    try:
        position = await wiki.do(
            wiki.commands.update_body, slug, body, version=natural(form.get("version", ""))
        )
    except PageChangedError:
        theirs = await wiki.page(page_id)
        if theirs.body != body:
            form = {**form, "version": str(theirs.version)}
            return show_text(request, form, status=409, theirs=theirs)
        # It was sent twice, or both have written the same.
    except InvalidPageError as error:
        return show_text(request, form, _faults(error), 422)
    else:
        remember_write(request, position, page_id)
    return RedirectResponse(path_of(slug), 303)


def show_names(
    request: Request,
    form: Form,
    faults: Faults = NO_FAULTS,
    status: int = 200,
    *,
    slug: str | None = None,
) -> Response:
    """Ask for another title or slug of a page."""
    slug = slug or slug_of(request)
    return render(request, "wiki/names", status=status, slug=slug, given=form, faults=faults)


async def names(request: Request) -> Response:
    """Ask for another title or slug of a page, as the write model has it."""
    return show_names(request, _form_of(await wiki_of(request).page(await page_id_of(request))))


@form_shown_by(show_names)
async def rename(request: Request, form: Form) -> Response:
    """Give a page another title, another slug, or both, unless somebody else has since."""
    wiki, slug = wiki_of(request), slug_of(request)
    if moved := await _moved(request, form):
        return show_names(request, form, {"form": MOVED}, 409, slug=moved.slug)
    page = await wiki.page(await page_id_of(request))
    title, other = form.get("title", ""), form.get("slug", "").strip()
    if page.title not in (form.get("was", page.title), title):
        faults = {"title": f"somebody has called it “{page.title}” since: save again to change it"}
        return show_names(request, {**form, "was": page.title}, faults, 409)
    try:
        wiki.commands.limits.check_title(title)
        if other != slug:
            position = await wiki.do(wiki.commands.update_slug, slug, other)
            remember_write(request, position, page.id)
        if title != page.title:
            position = await wiki.do(wiki.commands.update_title, other, title)
            remember_write(request, position, page.id)
    except (InvalidPageError, SlugConflictError) as error:
        return show_names(request, form, _faults(error), 422)
    return RedirectResponse(path_of(other), 303)


def _form_of(page: Page) -> Form:
    return {
        "page": str(page.id),
        "version": str(page.version),
        "title": page.title,
        "was": page.title,
        "slug": page.slug,
        "body": page.body,
    }


async def _body_before(request: Request, form: Form, page_id: UUID) -> str:
    """Return the text that a form was shown with; the text now, if it doesn't say which."""
    wiki = wiki_of(request)
    page: Page | None = None
    if version := natural(form.get("version", "")):
        with suppress(NoSuchVersionError):
            page = await wiki.earlier(page_id, version)
    page = page or await wiki.page(page_id)
    return page.body


async def _moved(request: Request, form: Form) -> Page | None:
    """Return the page that a form is about, if its slug has changed since the form was shown."""
    wiki = wiki_of(request)
    try:
        page_id = UUID(form.get("page", ""))
        if await wiki.page_id(slug_of(request)) == page_id:
            return None
    except ValueError:  # It does not say: then it is about the page of this slug.
        return None
    except PageNotFoundError:
        pass
    with suppress(AggregateNotFoundError):
        page: object = await wiki.page(page_id)
        return page if isinstance(page, Page) else None
    return None


def _faults(error: InvalidPageError | SlugConflictError) -> Faults:
    """Return what is wrong, by the field that it is to be said beside."""
    if isinstance(error, SlugConflictError):
        return {"slug": "another page has this slug: choose another one"}
    return {error.field: str(error)}


ROUTES = [
    Route("/new", new),
    Route("/new", create, methods=["POST"]),
    Route("/edit/{slug:path}", edit),
    Route("/edit/{slug:path}", save, methods=["POST"]),
    Route("/names/{slug:path}", names),
    Route("/names/{slug:path}", rename, methods=["POST"]),
]
