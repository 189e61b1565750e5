"""What the pages read of a request, and reading your own writes: a browser carries its position."""

from __future__ import annotations

from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request

from eventsourcing_kafka.compose.web.wiki.model import wiki_of
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.producer.contentmanagement.application import PageNotFoundError

WAIT_SECONDS = 2.0
"""For the view. Then the page is shown as it is, and says so."""

LARGEST_NUMBER = 2**31 - 1
MOST_DIGITS = 18


def wrote(request: Request, position: int, page_id: UUID) -> None:
    """Take note of what this browser wrote last."""
    request.session["wrote"] = [position, str(page_id)]


async def has_own_writes(request: Request, store: ViewStore) -> bool:
    """Wait until a view has what this browser wrote last; tell whether it has."""
    match request.session.get("wrote"):
        case [position, page_id]:
            return await has_applied(store, position, page_id)
    return True


async def has_applied(store: ViewStore, position: int, page_id: UUID | str) -> bool:
    """Wait, within the bound, until a view has what was written of a page; tell whether it has."""
    if await store.has(position, page_id):
        return True
    try:
        await store.wait(position, page_id, seconds=WAIT_SECONDS)
    except TimeoutError:
        return False
    return True


def slug_of(request: Request) -> str:
    """Return the slug that a request is about: of its path, or of `slug` if no path can have it."""
    slug: str = request.path_params["slug"]
    return slug or request.query_params.get("slug", "")


async def found(request: Request) -> UUID:
    """Return the ID of the page that a request is about, or answer that there is none."""
    slug = slug_of(request)
    try:
        return await wiki_of(request).page_id(slug)
    except PageNotFoundError:
        raise HTTPException(404, f"There is no page {slug!r}.") from None


def number(request: Request, name: str, default: int = 0) -> int:
    """Return a number of a request's query."""
    text = request.query_params.get(name)
    return default if text is None else natural(text)


def natural(text: str) -> int:
    """Return a number from 0, or answer that it is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
        raise HTTPException(400, f"{text[:20]!r} is not a number from 0.")
    return min(int(text), LARGEST_NUMBER)
