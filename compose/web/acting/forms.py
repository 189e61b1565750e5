"""What a route needs before it acts: a form of ours, and somebody who may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from compose.web.acting.session import acting, is_from_our_form, user_of

Form = Mapping[str, str]
Endpoint = Callable[[Request], Awaitable[Response]]
Submitted = Callable[[Request, Form], Awaitable[Response]]


def submitting(endpoint: Submitted) -> Endpoint:
    """Have a form of ours, of somebody who is signed in, handled on behalf of that user."""

    @wraps(endpoint)
    async def handle(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        if not is_from_our_form(request, form.get("token", "")):
            raise HTTPException(403, "The form is not from here, or too old: load it again.")
        user = user_of(request)
        if user is None:
            return RedirectResponse(request.url_for("sign_in"), 303)
        with acting(user):
            return await endpoint(request, form)

    return handle


def for_operators(endpoint: Endpoint) -> Endpoint:
    """Let nobody but operators come to an endpoint: others are told that they may not."""

    @wraps(endpoint)
    async def handle(request: Request) -> Response:
        user = user_of(request)
        if user is None:
            return RedirectResponse(request.url_for("sign_in"), 303)
        if not user.operator:
            raise HTTPException(403, f"{user.name} is no operator of this pipeline.")
        return await endpoint(request)

    return handle
