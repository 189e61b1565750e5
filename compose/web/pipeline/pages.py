"""The live page."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from anyio import current_time
from markupsafe import Markup
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventsourcing_kafka.compose.web.auth.forms import operators_only
from eventsourcing_kafka.compose.web.pipeline.actions import ROUTES as ACTIONS
from eventsourcing_kafka.compose.web.pipeline.aggregates import ROUTES as AGGREGATES
from eventsourcing_kafka.compose.web.pipeline.polling import MOST_WATCHERS
from eventsourcing_kafka.compose.web.pipeline.window import Window, window_of
from eventsourcing_kafka.compose.web.rendering import render

STREAM_SECONDS = 60.0
"""Then the browser asks again: whoever is no operator any more is not let in."""
RETRY_MS = 1000
SEND_SECONDS = 5.0
"""A browser that takes nothing for so long has left."""


@operators_only
async def _window(request: Request) -> Response:
    window = _with_room(window_of(request))
    with window.poller.watching():
        await window.poller.wait_until_fresh()
    told = request.session.pop("told", "")
    flow = Markup(window.html())  # noqa: S704 - a template of ours has escaped it
    applications = list(window.sources.heads)
    return render(request, "pipeline/window", flow=flow, told=told, applications=applications)


@operators_only
async def _live(request: Request) -> Response:
    window = _with_room(window_of(request))
    return EventSourceResponse(_events(window), send_timeout=SEND_SECONDS, ping=0)


def _with_room(window: Window) -> Window:
    """Return the window, unless too many look through it."""
    if window.poller.is_full:
        raise HTTPException(503, f"{MOST_WATCHERS} browsers watch already: close one of them.")
    return window


async def _events(window: Window) -> AsyncIterator[ServerSentEvent]:
    """Yield what is so about once a second, for a while."""
    until = current_time() + STREAM_SECONDS
    with window.poller.watching():
        while current_time() < until:
            yield ServerSentEvent(window.html(), retry=RETRY_MS)
            await anyio.sleep(window.poller.pace.every_seconds)


ROUTES = [
    Route("/pipeline", _window, name="pipeline"),
    Route("/pipeline/live", _live, name="pipeline_live"),
    *AGGREGATES,
    *ACTIONS,
]
