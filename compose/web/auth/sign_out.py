"""Signing out: the same for every way to sign in."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from eventsourcing_kafka.compose.web.auth.forms import form_of
from eventsourcing_kafka.compose.web.auth.session import has_token_of_session


async def sign_out(request: Request) -> Response:
    """End the session of this browser."""
    if has_token_of_session(request, (await form_of(request)).get("token", "")):
        request.session.clear()
    return RedirectResponse("/", 303)


ROUTES = [Route("/sign-out", sign_out, methods=["POST"])]
