"""The application that a server runs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import anyio.abc
from anyio import to_thread
from eventsourcing.utils import Environment
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Lifespan, Scope

from eventsourcing_kafka.compose.web.api.app import api_app, api_routes
from eventsourcing_kafka.compose.web.api.position_tokens import PositionTokens
from eventsourcing_kafka.compose.web.api.problems import PROBLEM_OF_ERROR, problem_response
from eventsourcing_kafka.compose.web.auth import tokens
from eventsourcing_kafka.compose.web.auth.session import SignIn
from eventsourcing_kafka.compose.web.base import browser_app
from eventsourcing_kafka.compose.web.pipeline import pages as pipeline
from eventsourcing_kafka.compose.web.pipeline.polling import DEFAULT_PACE, Pace
from eventsourcing_kafka.compose.web.pipeline.window import opened_window
from eventsourcing_kafka.compose.web.rendering import Site
from eventsourcing_kafka.compose.web.safety import plain_page
from eventsourcing_kafka.compose.web.settings import WebSettings
from eventsourcing_kafka.compose.web.wiki import contributors, editing, pages, search
from eventsourcing_kafka.compose.web.wiki.model import opened_wiki
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.limits import Limits
from eventsourcing_kafka.producer.runtime.applications import reach
from eventsourcing_kafka.producer.runtime.retry import retrying

logger = logging.getLogger(__name__)

FORM_BYTES = 100_000
"""Of a form, besides the body of a page, which may take three bytes for each of its own."""

FIRST_WAIT_SECONDS = 5.0
"""For the write model. Then requests are answered, and say that it is not there."""

SITE = Site("wiki", "layout.html", "wiki")


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
    api = api_app()
    app = browser_app(
        SITE,
        [
            *pages.ROUTES,
            *editing.ROUTES,
            *contributors.ROUTES,
            *search.ROUTES,
            *api_routes(api),
            *pipeline.ROUTES,
            *tokens.ROUTES,
        ],
        _opened(environment, pace),
        secret,
        settings or WebSettings.from_env(environment),
        sign_in=sign_in,
        secure=secure,
        most_bytes=3 * limits.body_bytes + FORM_BYTES,
        refuse=_refuse,
    )
    app.state.position_tokens = PositionTokens(secret)
    app.state.wiki = None
    api.state = app.state
    return app


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
