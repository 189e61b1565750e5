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

from eventsourcing_kafka.compose.web.auth.forms import for_operators
from eventsourcing_kafka.compose.web.pipeline.actions import ROUTES as ACTIONS
from eventsourcing_kafka.compose.web.pipeline.polling import EVERY_SECONDS, MOST_WATCHERS
from eventsourcing_kafka.compose.web.pipeline.window import Window, window_of
from eventsourcing_kafka.compose.web.rendering import page as shown

STREAM_SECONDS = 60.0
"""Then the browser asks again: whoever is no operator any more is not let in."""
RETRY_MS = 1000
SEND_SECONDS = 5.0
"""A browser that takes nothing for so long has left."""


@for_operators
async def _window(request: Request) -> Response:
    window = _with_room(window_of(request))
    with window.watch.watched():
        await window.watch.fresh()
    told = request.session.pop("told", "")
    flow = Markup(window.drawn())  # noqa: S704 - a template of ours has escaped it
    return shown(request, "pipeline/window", flow=flow, told=told)


@for_operators
async def _live(request: Request) -> Response:
    window = _with_room(window_of(request))
    return EventSourceResponse(_drawn(window), send_timeout=SEND_SECONDS, ping=0)


def _with_room(window: Window) -> Window:
    """Return the window, unless too many look through it."""
    if window.watch.is_full:
        raise HTTPException(503, f"{MOST_WATCHERS} browsers watch already: close one of them.")
    return window


async def _drawn(window: Window) -> AsyncIterator[ServerSentEvent]:
    """Yield what is so about once a second, for a while."""
    until = current_time() + STREAM_SECONDS
    with window.watch.watched():
        while current_time() < until:
            yield ServerSentEvent(window.drawn(), retry=RETRY_MS)
            await anyio.sleep(EVERY_SECONDS)


ROUTES = [
    Route("/pipeline", _window, name="pipeline"),
    Route("/pipeline/live", _live, name="pipeline_live"),
    *ACTIONS,
]
