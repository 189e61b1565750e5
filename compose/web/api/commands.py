"""Commands: on behalf of somebody who has a token, of a body that is JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Header
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from eventsourcing_kafka.compose.web.api.openapi import ETAG, PLACE, POSITION, problems, tagged
from eventsourcing_kafka.compose.web.api.position_tokens import HEADER
from eventsourcing_kafka.compose.web.api.problems import (
    BUSY,
    INVALID,
    NO_PAGE,
    NO_TOKEN,
    NO_VERSION_GIVEN,
    NOT_JSON,
    NOT_JSON_TYPE,
    PAGE_CHANGED,
    SLUG_TAKEN,
    TOO_LARGE,
    Fault,
    ProblemError,
    invalid_request,
)
from eventsourcing_kafka.compose.web.api.schemas import Change, CurrentPage, NewPage, Written
from eventsourcing_kafka.compose.web.auth.session import User
from eventsourcing_kafka.compose.web.auth.tokens import Tokens
from eventsourcing_kafka.compose.web.wiki.forms import on_behalf_of
from eventsourcing_kafka.compose.web.wiki.model import wiki_of
from eventsourcing_kafka.producer.contentmanagement.application import PageChangedError
from eventsourcing_kafka.producer.contentmanagement.diff import create_diff

JSON_TYPE = "application/json"
ETAG_FORM = re.compile(r'(?:W/)?"(\d{1,9})(?:-stale)?"')

_COMMON = [BUSY, NO_TOKEN, NOT_JSON, INVALID, SLUG_TAKEN, TOO_LARGE, NOT_JSON_TYPE]


class JsonRequest(Request):
    """A request whose body is strictly JSON, once it is `read`."""

    async def read(self) -> None:
        """Read the body. Refuses what is not JSON."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != JSON_TYPE:
            raise ProblemError(NOT_JSON_TYPE, f"This takes {JSON_TYPE}, not {media_type[:50]!r}.")
        try:
            self._read = msgspec.json.decode(await self.body())
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProblemError(NOT_JSON, str(error)) from None
        except RecursionError:
            raise ProblemError(NOT_JSON, "It is nested too deeply.") from None

    async def json(self) -> Any:
        """Return what was read."""
        return self._read


class Command(APIRoute):
    """Handles a command on behalf of the user of its token."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what handles a request."""
        handle = super().get_route_handler()

        async def handle_of_user(request: Request) -> Response:
            user = _user_of(request)
            await wiki_of(request).remember(user.id, user.name)
            with on_behalf_of(user):
                read = JsonRequest(request.scope, request.receive)
                await read.read()
                return await handle(read)

        return handle_of_user


def _user_of(request: Request) -> User:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    tokens: Tokens = request.app.state.tokens
    user = tokens.user_of_token(token.strip()) if scheme.lower() == "bearer" else None
    if user is None:
        raise ProblemError(
            NO_TOKEN,
            "There is no token from here, or it is too old.",
            headers={"www-authenticate": "Bearer"},
        )
    return user


routes = APIRouter(route_class=Command)


@routes.post(
    "/pages",
    status_code=201,
    response_description="The page is made.",
    responses={
        201: {"headers": {"Location": PLACE, "ETag": ETAG, HEADER: POSITION}},
        **problems(*_COMMON),
    },
)
async def create_page(request: Request, response: Response, given: NewPage) -> Written:
    """Make a page without text."""
    wiki = wiki_of(request)
    position = await wiki.do(wiki.commands.create_page, given.title, given.slug)
    response.headers["location"] = f"/api/pages/{quote(given.slug, safe='')}"
    return await _written(request, response, position, slug=given.slug, version=1)


@routes.patch(
    "/pages/{slug:path}",
    response_description="The page is changed.",
    responses={
        200: {"headers": {"ETag": ETAG, HEADER: POSITION}},
        **problems(*_COMMON, NO_PAGE, PAGE_CHANGED, NO_VERSION_GIVEN),
    },
)
async def change_page(
    request: Request,
    response: Response,
    slug: str,
    given: Change,
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="The `ETag` of the page that the change is based on. It is needed.",
            examples=['"3"'],
        ),
    ] = None,
) -> Written:
    """Replace the body, the title or the slug of a page, unless somebody else has changed it."""
    wiki = wiki_of(request)
    version = _version_in(if_match)
    name, new = given.only
    commands = {
        "body": wiki.commands.update_body,
        "title": wiki.commands.update_title,
        "slug": wiki.commands.update_slug,
    }
    try:
        position = await wiki.do(commands[name], slug, new, version=version)
    except PageChangedError as error:
        raise await _changed(request, slug, given, str(error)) from None
    now = new if name == "slug" else slug
    return await _written(request, response, position, slug=now, version=version + 1)


def _version_in(if_match: str | None) -> int:
    if if_match is None:
        raise ProblemError(NO_VERSION_GIVEN, "There is no If-Match.")
    tag = ETAG_FORM.fullmatch(if_match.strip())
    if tag is None:
        raise invalid_request(Fault("If-Match", "this takes the ETag of one version"))
    return int(tag[1])


async def _changed(request: Request, slug: str, given: Change, said: str) -> ProblemError:
    wiki = wiki_of(request)
    page = await wiki.page(await wiki.page_id(slug))
    name, new = given.only
    return ProblemError(
        PAGE_CHANGED,
        said,
        headers={"etag": tagged(page.version)},
        current=CurrentPage.of(page).model_dump(),
        yours={name: new},
        **({"diff": create_diff(page.body, new)} if name == "body" else {}),
    )


async def _written(
    request: Request, response: Response, position: int, *, slug: str, version: int
) -> Written:
    page_id = await wiki_of(request).written(position)
    token = request.app.state.position_tokens.token(position)
    response.headers["etag"] = tagged(version)
    response.headers[HEADER] = token
    return Written(id=page_id, slug=slug, version=version, position=token)
