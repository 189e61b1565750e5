"""The application that a server runs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import anyio.abc
from aiokafka.errors import KafkaError
from anyio import to_thread
from eventsourcing.persistence import PersistenceError
from eventsourcing.utils import Environment
from psycopg import InterfaceError, OperationalError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Lifespan, Scope

from eventsourcing_kafka.compose.web.api.app import api_app, api_routes
from eventsourcing_kafka.compose.web.api.position_tokens import PositionTokens
from eventsourcing_kafka.compose.web.api.problems import PROBLEM_OF_ERROR, problem_response
from eventsourcing_kafka.compose.web.auth import sign_out, tokens
from eventsourcing_kafka.compose.web.auth.development import NameOnly
from eventsourcing_kafka.compose.web.auth.session import SESSION_SECONDS, SignIn
from eventsourcing_kafka.compose.web.pipeline import pages as pipeline
from eventsourcing_kafka.compose.web.pipeline.polling import DEFAULT_PACE, Pace
from eventsourcing_kafka.compose.web.pipeline.window import opened_window
from eventsourcing_kafka.compose.web.rates import RateLimitMiddleware
from eventsourcing_kafka.compose.web.rendering import HERE, render
from eventsourcing_kafka.compose.web.safety import SafetyMiddleware, plain_page
from eventsourcing_kafka.compose.web.settings import WebSettings
from eventsourcing_kafka.compose.web.wiki import contributors, editing, pages, search
from eventsourcing_kafka.compose.web.wiki.model import opened_wiki
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.limits import Limits
from eventsourcing_kafka.producer.runtime.applications import reach
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.retry import name_of, retrying

logger = logging.getLogger(__name__)

FORM_BYTES = 100_000
"""Of a form, besides the body of a page, which may take three bytes for each of its own."""

FIRST_WAIT_SECONDS = 5.0
"""For the write model. Then requests are answered, and say that it is not there."""

UNAVAILABLE = (OperatorError, OperationalError, InterfaceError, PersistenceError, KafkaError)
"""What an answer waits for, or an operator has to settle. A browser is told no more of it."""


def web_app(
    environment: Mapping[str, str],
    secret: str,
    *,
    settings: WebSettings | None = None,
    sign_in: SignIn | None = None,
    secure: bool = False,
    pace: Pace = DEFAULT_PACE,
) -> Starlette:
    """Return the wiki of a pipeline's settings.

    `secret` signs the sessions: whoever has it may be anybody. The `settings` of the web are taken
    from the environment, too, unless they are given; they decide how one signs in, unless
    `sign_in` does. With `secure`, browsers send sessions over HTTPS only. The `pace` is that of
    the window on the pipeline.
    """
    limits = Limits.from_env(Environment(ContentManagement.name, dict(environment)))
    settings = settings or WebSettings.from_env(environment)
    api = api_app()
    known = tokens.Tokens(secret, settings.operators)
    app = Starlette(
        routes=[
            *pages.ROUTES,
            *editing.ROUTES,
            *contributors.ROUTES,
            *search.ROUTES,
            *api_routes(api),
            *(sign_in or _sign_in(settings)).routes,
            *sign_out.ROUTES,
            *pipeline.ROUTES,
            *tokens.ROUTES,
            Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
        ],
        middleware=[
            Middleware(
                SafetyMiddleware,
                most_bytes=3 * limits.body_bytes + FORM_BYTES,
                answers_as=settings.answers_as,
                refuse=_refuse,
            ),
            Middleware(
                SessionMiddleware,
                secret_key=secret,
                session_cookie="__Host-wiki" if secure else "wiki",
                max_age=SESSION_SECONDS,
                same_site="lax",
                https_only=secure,
            ),
            # It knows who is signed in.
            Middleware(RateLimitMiddleware, rates=settings.rates, tokens=known, refuse=_refuse),
        ],
        exception_handlers={
            HTTPException: _refused,
            **dict.fromkeys(UNAVAILABLE, _unavailable),
            500: _failed,
        },
        lifespan=_opened(environment, pace),
    )
    app.state.operators = settings.operators
    app.state.position_tokens = PositionTokens(secret)
    app.state.tokens = known
    app.state.wiki = None
    api.state = app.state
    return app


def _sign_in(settings: WebSettings) -> SignIn:
    if settings.provider is None:
        return NameOnly()
    from eventsourcing_kafka.compose.web.auth.oidc import OpenIDConnect  # It takes a while.

    return OpenIDConnect(settings.provider)


def _opened(environment: Mapping[str, str], pace: Pace) -> Lifespan[Starlette]:
    """Return what opens the wiki, or waits until it can be opened, while requests are answered."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        tried = anyio.Event()

        async def session(progressed: Callable[[], None]) -> None:
            try:
                await reach(ContentManagement, environment)
                async with _wiki(app, environment):
                    progressed()
                    tried.set()
                    await anyio.sleep_forever()
            finally:
                tried.set()

        async with (
            opened_window(environment, pace) as app.state.pipeline,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(retrying, "the wiki", session)
            with anyio.move_on_after(FIRST_WAIT_SECONDS):
                await tried.wait()
            yield
            tasks.cancel_scope.cancel()

    return lifespan


@asynccontextmanager
async def _wiki(app: Starlette, environment: Mapping[str, str]) -> AsyncIterator[None]:
    wiki = opened_wiki(environment)
    app.state.wiki = await to_thread.run_sync(wiki.__enter__)
    try:
        async with app.state.wiki.connected_to_views():
            yield
    finally:
        app.state.wiki = None
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(wiki.__exit__, None, None, None)


def _refuse(scope: Scope, error: HTTPException) -> Response:
    """Say to a browser, or to a program, what is wrong before a request comes to its route."""
    if scope["path"].startswith("/api/"):
        return problem_response(PROBLEM_OF_ERROR[HTTPException](error))
    return plain_page(error)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for this one
    response = render(request, "error", status=error.status_code, message=error.detail)
    response.headers.update(error.headers or {})
    return response


async def _unavailable(request: Request, error: Exception) -> Response:
    logger.warning("not available: %s", name_of(error))
    message = "The database, or the view, is not there at the moment. Try again shortly."
    return render(request, "error", status=503, message=message)


async def _failed(_request: Request, _error: Exception) -> Response:
    # The server logs it. Nothing here may fail as well: no template, no session.
    return plain_page(HTTPException(500, "Something is wrong here. The log has it."))
