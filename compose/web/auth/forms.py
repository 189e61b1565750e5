"""What a route needs before it acts: a form of ours, and somebody who may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from eventsourcing_kafka.compose.web.auth.session import (
    has_token_of_session,
    redirect_to_sign_in,
    user_of,
)

Form = Mapping[str, str]
Faults = Mapping[str, str]
"""What is wrong, by the field that it is to be said beside; `form` is the whole."""

Endpoint = Callable[[Request], Awaitable[Response]]
HandleForm = Callable[[Request, Form], Awaitable[Response]]

MOST_FIELDS = 50
MOST_BYTES = 20_000_000
"""Of one field: the whole form has a limit already."""


async def form_of(request: Request) -> Form:
    """Return the form that was sent, without files. Raises `HTTPException` if it is too big."""
    form = await request.form(max_files=0, max_fields=MOST_FIELDS, max_part_size=MOST_BYTES)
    return {name: value for name, value in form.items() if isinstance(value, str)}


def signed_in_form(endpoint: HandleForm) -> Endpoint:
    """Have a form of ours handled, of somebody who is signed in."""

    @wraps(endpoint)
    async def handle(request: Request) -> Response:
        form = await form_of(request)
        if not has_token_of_session(request, form.get("token", "")):
            raise HTTPException(403, "The form is not from here, or too old: load it again.")
        if user_of(request) is None:
            return redirect_to_sign_in(request)
        return await endpoint(request, form)

    return handle


def operators_only(endpoint: Endpoint) -> Endpoint:
    """Let nobody but operators come to an endpoint: others are told that they may not."""

    @wraps(endpoint)
    async def handle(request: Request) -> Response:
        user = user_of(request)
        if user is None:
            return redirect_to_sign_in(request)
        if not user.operator:
            raise HTTPException(403, f"{user.name} is no operator of this pipeline.")
        return await endpoint(request)

    return handle
