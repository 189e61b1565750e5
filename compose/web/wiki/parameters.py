"""What pages read of a request: slugs and numbers."""

from __future__ import annotations

from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request

from eventsourcing_kafka.compose.web.wiki.model import wiki_of
from eventsourcing_kafka.producer.contentmanagement.application import PageNotFoundError

LARGEST_NUMBER = 2**31 - 1
MOST_DIGITS = 18


def slug_of(request: Request) -> str:
    """Return the slug that a request is about: of its path, or of `slug` if no path can have it."""
    slug: str = request.path_params["slug"]
    return slug or request.query_params.get("slug", "")


async def page_id_of(request: Request) -> UUID:
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
