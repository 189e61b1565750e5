"""What stands around every request: names, sizes, times, headers, and errors that tell nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
from markupsafe import escape
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

Refuse = Callable[[Scope, HTTPException], Response]
"""Says to a browser, or to a program, why there is no answer."""

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

LONGEST_ADDRESS = 16_000
"""Bytes of a path and a query: the longest slug takes 6,000."""

BODY_SECONDS = 30.0
"""Until all of a request must be here."""

ANSWER_SECONDS = 60.0
"""Until an answer must have begun. A live page goes on for as long as it likes then."""

PLAIN = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Not so</title>
<link rel="stylesheet" href="/static/style.css"></head>
<body><main><h1>That did not work</h1><p class="notice" role="alert">{}</p>
<p><a href="/">To the recent changes</a></p></main></body>
</html>
"""


def plain_page(error: HTTPException) -> Response:
    """Return a page that says what is wrong. It needs no template, no session, no database."""
    headers = {**HEADERS, "cache-control": NOT_KEPT, **(error.headers or {})}
    return HTMLResponse(PLAIN.format(escape(error.detail)), error.status_code, headers)


class SafetyMiddleware:
    """Puts headers on every answer; refuses names not our own, and what is too long or too slow."""

    def __init__(
        self,
        app: ASGIApp,
        most_bytes: int,
        answers_as: Callable[[str], bool],
        refuse: Refuse,
        *,
        body_seconds: float = BODY_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._answers_as = answers_as
        self._refuse = refuse
        self._body_seconds = body_seconds
        self._answer_seconds = answer_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answering.deadline = float("inf")
                kept = scope["path"].startswith("/static/") and message["status"] < FIRST_ERROR
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", KEPT if kept else NOT_KEPT)
            await send(message)

        with anyio.move_on_after(self._answer_seconds) as answering:
            wrong = self._wrong(scope)
            app = self._refuse(scope, wrong) if wrong else self._app
            await app(scope, self._bounded(receive), send_guarded)
        if answering.cancelled_caught:
            logger.warning("no answer within %.0f s: %s", self._answer_seconds, scope["path"])
            late = HTTPException(503, "This took too long. See whether it was done.")
            await self._refuse(scope, late)(scope, receive, send_guarded)

    def _wrong(self, scope: Scope) -> HTTPException | None:
        if not self._answers_as(Headers(scope=scope).get("host", "")):
            return HTTPException(
                400, "The wiki does not answer to this name. Who runs it can add it to WEB_HOSTS."
            )
        path = scope.get("raw_path") or scope["path"].encode()
        if len(path) + len(scope["query_string"]) > LONGEST_ADDRESS:
            return HTTPException(414, "The address is too long.")
        return None

    def _bounded(self, receive: Receive) -> Receive:
        """Return what gives a body, until it is too much or has taken too long."""
        received, complete = 0, False
        deadline = anyio.current_time() + self._body_seconds

        async def receive_so_much() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()  # Only the end of the connection is still to come.
            with anyio.move_on_after(deadline - anyio.current_time()) as waiting:
                message = await receive()
            if waiting.cancelled_caught:
                raise HTTPException(408, "What was sent took too long to arrive.")
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._most_bytes:
                raise HTTPException(413, f"More than {self._most_bytes:,} bytes were sent.")
            return message

        return receive_so_much
