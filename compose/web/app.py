"""The application that a server runs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from anyio import to_thread
from eventsourcing.persistence import PersistenceError
from eventsourcing.utils import Environment
from psycopg import OperationalError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from compose.web.acting.development import NameOnly
from compose.web.acting.session import SignIn
from compose.web.safety import HEADERS, Guarded
from compose.web.showing import HERE
from compose.web.showing import page as shown
from compose.web.wiki import pages, searching
from compose.web.wiki.model import opened_wiki
from consumer.store import ViewMissingError
from producer.contentmanagement.application import ContentManagement
from producer.contentmanagement.limits import Limits

logger = logging.getLogger(__name__)

FORM_BYTES = 100_000
"""Of a form, besides the body of a page, which may take three bytes for each of its own."""

SESSION_SECONDS = 14 * 24 * 3600


def web_app(
    environment: Mapping[str, str],
    secret: str,
    *,
    sign_in: SignIn | None = None,
    secure: bool = False,
) -> Starlette:
    """Return the wiki of a pipeline's settings.

    `secret` signs the sessions: whoever has it may be anybody. With `secure`, browsers send
    sessions over HTTPS only.
    """
    limits = Limits.from_env(Environment(ContentManagement.name, dict(environment)))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        wiki = opened_wiki(environment)
        app.state.wiki = await to_thread.run_sync(wiki.__enter__)
        try:
            async with app.state.wiki.searcher:
                yield
        finally:
            await to_thread.run_sync(wiki.__exit__, None, None, None)

    return Starlette(
        routes=[
            *pages.ROUTES,
            *searching.ROUTES,
            *(sign_in or NameOnly()).routes,
            Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
        ],
        middleware=[
            Middleware(Guarded, most_bytes=3 * limits.body_bytes + FORM_BYTES),
            Middleware(
                SessionMiddleware,
                secret_key=secret,
                session_cookie="wiki",
                max_age=SESSION_SECONDS,
                same_site="lax",
                https_only=secure,
            ),
        ],
        exception_handlers={
            HTTPException: _refused,
            ViewMissingError: _unavailable,
            OperationalError: _unavailable,
            PersistenceError: _unavailable,
            500: _failed,
        },
        lifespan=lifespan,
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for this one
    return shown(request, "error", status=error.status_code, message=error.detail)


async def _unavailable(request: Request, error: Exception) -> Response:
    logger.warning("not available: %s", type(error).__name__)
    message = "The database, or the view, is not there at the moment. Try again shortly."
    return shown(request, "error", status=503, message=message)


async def _failed(_request: Request, _error: Exception) -> Response:
    # The server logs it. Nothing here may fail as well: no template, no session.
    return PlainTextResponse("Something is wrong here.", 500, headers=HEADERS)
