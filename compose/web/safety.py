"""What stands around every request: names, sizes, headers, errors that tell a browser nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable

from markupsafe import escape
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

HEADERS = {
    # No script, style, picture or frame but our own; forms go nowhere else.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
KEPT = "public, max-age=60"
NOT_KEPT = "private, no-cache"
"""Unless a page says otherwise: nobody else's browser is shown what was made for this one."""

FIRST_ERROR = 400
"""Of the status codes of HTTP."""

PLAIN = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Not so</title>
<link rel="stylesheet" href="/static/style.css"></head>
<body><main><h1>That did not work</h1><p class="notice" role="alert">{}</p>
<p><a href="/">To the recent changes</a></p></main></body>
</html>
"""


def plain_page(status: int, message: str) -> Response:
    """Return a page that needs no template, no session and no database."""
    headers = {"cache-control": NOT_KEPT, **HEADERS}
    return HTMLResponse(PLAIN.format(escape(message)), status, headers)


class Guarded:
    """Puts headers on every answer, refuses bodies over `most_bytes`, and names not our own."""

    def __init__(self, app: ASGIApp, most_bytes: int, answers_as: Callable[[str], bool]) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._answers_as = answers_as

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def receive_so_much() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most_bytes:
                raise HTTPException(413, f"More than {self._most_bytes:,} bytes were sent.")
            return message

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                kept = scope["path"].startswith("/static/") and message["status"] < FIRST_ERROR
                cached = {"cache-control": KEPT if kept else NOT_KEPT}
                for name, value in {**HEADERS, **cached}.items():
                    headers.setdefault(name, value)
            await send(message)

        if not self._answers_as(Headers(scope=scope).get("host", "")):
            refusal = plain_page(
                400, "The wiki does not answer to this name. Who runs it can add it to WEB_HOSTS."
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive_so_much, send_guarded)
