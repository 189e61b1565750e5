"""Reading: pages, what they were, what there is of them, and who wrote it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Header, Path, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from eventsourcing_kafka.compose.web.api.openapi import ETAG, POSITION, problems, tagged
from eventsourcing_kafka.compose.web.api.position_tokens import HEADER, Awaited, wait_for_position
from eventsourcing_kafka.compose.web.api.problems import (
    INVALID,
    NO_PAGE,
    NO_VERSION,
    NOT_IN_VIEW,
    NOT_REACHED,
    SEARCH_TOO_LONG,
    Fault,
    ProblemError,
    invalid_request,
)
from eventsourcing_kafka.compose.web.api.schemas import (
    Contributors,
    EarlierPage,
    Found,
    HistoricChange,
    Matched,
    PageHistory,
    PageRead,
    Pages,
    RecentChanges,
    Results,
)
from eventsourcing_kafka.compose.web.wiki.model import NoSuchVersionError, wiki_of
from eventsourcing_kafka.compose.web.wiki.parameters import LARGEST_NUMBER
from eventsourcing_kafka.compose.web.wiki.search import LONGEST_QUERY
from eventsourcing_kafka.consumer.views.activity.queries import changes as recent_changes
from eventsourcing_kafka.consumer.views.activity.queries import contributors as most_active
from eventsourcing_kafka.consumer.views.fts.reading import read_page as page_in_view
from eventsourcing_kafka.consumer.views.fts.search import MOST_RANKED
from eventsourcing_kafka.producer.runtime.errors import SettingsError

Limit = Annotated[int, Query(ge=1, le=500, description="Of so many, at most.")]
Number = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]

routes = APIRouter()


@routes.get(
    "/pages/{slug:path}",
    response_model=PageRead,
    responses={
        200: {"headers": {"ETag": ETAG, HEADER: POSITION}},
        304: {"description": "The page is as the client has it.", "headers": {"ETag": ETAG}},
        **problems(NO_PAGE, INVALID, NOT_REACHED, NOT_IN_VIEW),
    },
)
async def read_page(
    request: Request,
    response: Response,
    slug: str,
    awaited: Awaited,
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="The `ETag` of what the client has.")
    ] = None,
) -> PageRead | Response:
    """Read a page, as the search view has it."""
    wiki = wiki_of(request)
    await wait_for_position(wiki.search, awaited)
    page = await page_in_view(wiki.search, await wiki.page_id(slug))
    if page is None:
        raise ProblemError(NOT_IN_VIEW, "The view is behind.")
    token = request.app.state.position_tokens.token(page.position)
    tag = tagged(page.version, stale=page.stale)
    headers = {"etag": tag, HEADER: token}
    if if_none_match and tag in if_none_match:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return PageRead(
        id=page.id,
        slug=page.slug,
        title=page.title,
        body=page.body,
        version=page.version,
        stale=page.stale,
        position=token,
    )


@routes.get("/pages", responses=problems(INVALID, NOT_REACHED))
async def list_pages(
    request: Request,
    awaited: Awaited,
    gt: Annotated[Number | None, Query(description="Of those after this number.")] = None,
    lte: Annotated[Number | None, Query(description="Of those up to this number.")] = None,
    desc: Annotated[bool, Query(description="The newest first.")] = False,
    limit: Limit = 50,
) -> Pages:
    """List all pages in the order of their creation."""
    wiki = wiki_of(request)
    await wait_for_position(wiki.search, awaited)
    pages = await wiki.pages(gt=gt, lte=lte, desc=desc, limit=limit)
    following = None
    if len(pages) == limit:
        last = pages[-1].number
        bounds = {"gt": gt, "lte": last - 1} if desc else {"gt": last, "lte": lte}
        following = _path("pages", **bounds, desc=desc or None, limit=limit)
    return Pages.model_validate({"pages": pages, "next": following})


@routes.get("/history/{slug:path}", responses=problems(NO_PAGE, INVALID))
async def read_history(
    request: Request,
    slug: str,
    before: Annotated[Number, Query(description="Changes up to this version.")] = LARGEST_NUMBER,
    limit: Limit = 50,
) -> PageHistory:
    """Tell who changed a page when, and how; the latest change first."""
    wiki = wiki_of(request)
    changes = await wiki.changes(await wiki.page_id(slug), before=before, limit=limit)
    following = None
    if changes and (more := changes[-1].originator_version - 1):
        following = _path(f"history/{quote(slug, safe='')}", before=more, limit=limit)
    return PageHistory(changes=[HistoricChange.of(change) for change in changes], next=following)


@routes.get("/versions/{version}/{slug:path}", responses=problems(NO_PAGE, NO_VERSION, INVALID))
async def read_earlier_page(
    request: Request,
    slug: str,
    version: Annotated[int, Path(ge=1, le=LARGEST_NUMBER)],
) -> EarlierPage:
    """Read a page as it was at a version."""
    wiki = wiki_of(request)
    try:
        page = await wiki.earlier(await wiki.page_id(slug), version)
    except NoSuchVersionError as error:
        raise ProblemError(NO_VERSION, str(error)) from None
    return EarlierPage.of(page)


@routes.get("/changes", responses=problems(INVALID, NOT_REACHED))
async def list_recent_changes(
    request: Request, awaited: Awaited, limit: Limit = 50
) -> RecentChanges:
    """List the latest changes, the latest first."""
    activity = wiki_of(request).activity
    await wait_for_position(activity, awaited)
    return RecentChanges.model_validate({"changes": await recent_changes(activity, limit)})


@routes.get("/contributors", responses=problems(INVALID, NOT_REACHED))
async def list_contributors(request: Request, awaited: Awaited, limit: Limit = 50) -> Contributors:
    """List those who changed most, first."""
    activity = wiki_of(request).activity
    await wait_for_position(activity, awaited)
    return Contributors.model_validate({"contributors": await most_active(activity, limit)})


@routes.get("/search", responses=problems(INVALID, SEARCH_TOO_LONG, NOT_REACHED))
async def search(
    request: Request,
    awaited: Awaited,
    q: Annotated[
        str,
        Query(
            max_length=LONGEST_QUERY,
            description='Words, `"a phrase"`, `rose OR zebra`, `-without`.',
            examples=['"a rose" -zebra'],
        ),
    ],
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
    offset: Annotated[int, Query(ge=0, le=2 * MOST_RANKED)] = 0,
) -> Results:
    """Find the pages that match, the best first."""
    wiki = wiki_of(request)
    await wait_for_position(wiki.search, awaited)
    try:
        # One more than is shown tells whether there is another part.
        found = await wiki.searcher.search(q, limit=limit + 1, offset=offset)
    except SettingsError as error:
        raise invalid_request(Fault("q", str(error))) from None
    following = None
    if len(found) > limit:
        following = _path("search", q=q, limit=limit, offset=offset + limit)
    return Results(
        count=found[0].matches if found else 0,
        results=[
            Found(
                id=page.id,
                slug=page.slug,
                title=Matched.of(page.title_marked),
                snippet=Matched.of(page.snippet),
                stale=page.stale,
            )
            for page in found[:limit]
        ],
        next=following,
    )


def _path(path: str, **query: str | int | None) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"/api/{path}?{urlencode(given)}"
