"""The window on its own: for any pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan, Scope

from eventsourcing_kafka.compose.web.auth.session import SignIn
from eventsourcing_kafka.compose.web.base import browser_app
from eventsourcing_kafka.compose.web.pipeline import pages
from eventsourcing_kafka.compose.web.pipeline.polling import DEFAULT_PACE, Pace
from eventsourcing_kafka.compose.web.pipeline.window import opened_window
from eventsourcing_kafka.compose.web.rendering import Site
from eventsourcing_kafka.compose.web.safety import plain_page
from eventsourcing_kafka.compose.web.settings import WebSettings
from eventsourcing_kafka.producer.runtime.pipeline import Pipeline

SITE = Site("window", "window.html", "window")

FORM_BYTES = 100_000


def window_app(
    environment: Mapping[str, str],
    secret: str,
    pipeline: Pipeline | None = None,
    *,
    settings: WebSettings | None = None,
    sign_in: SignIn | None = None,
    secure: bool = False,
    pace: Pace = DEFAULT_PACE,
) -> Starlette:
    """Return the window on a pipeline; without one on all views that are installed.

    Besides, it is told what `browser_app` is told.
    """
    return browser_app(
        SITE,
        [Route("/", _to_the_window), *pages.ROUTES],
        _opened(environment, pipeline, pace),
        secret,
        settings or WebSettings.from_env(environment),
        sign_in=sign_in,
        secure=secure,
        most_bytes=FORM_BYTES,
        refuse=_refuse,
    )


async def _to_the_window(_request: Request) -> Response:
    return RedirectResponse("/pipeline", 303)


def _opened(
    environment: Mapping[str, str], pipeline: Pipeline | None, pace: Pace
) -> Lifespan[Starlette]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with opened_window(environment, pace, pipeline) as app.state.pipeline:
            yield

    return lifespan


def _refuse(_scope: Scope, error: HTTPException) -> Response:
    return plain_page(error)
