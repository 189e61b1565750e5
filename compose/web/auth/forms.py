"""What a route needs before it acts: a form of ours, and somebody who may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps

from eventsourcing.persistence import PersistenceError
from psycopg import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from eventsourcing_kafka.compose.web.auth.session import (
    has_token_of_session,
    on_behalf_of,
    redirect_to_sign_in,
    user_of,
)
from eventsourcing_kafka.compose.web.wiki.model import wiki_of

Form = Mapping[str, str]
Faults = Mapping[str, str]
"""What is wrong, by the field that it is to be said beside; `form` is the whole."""

Endpoint = Callable[[Request], Awaitable[Response]]
HandleForm = Callable[[Request, Form], Awaitable[Response]]
ShowForm = Callable[[Request, Form, Faults, int], Response]
"""Shows a form with what was typed, what is wrong with it, and a status."""

SIGNED_OUT = "You are not signed in, or no longer. Nothing is saved yet."
TOO_OLD = "This form was older than your session, so nothing is saved yet. Send it once more."
NO_DATABASE = (
    "The database does not answer at the moment, so this may not be saved. Try again shortly."
)

MOST_FIELDS = 50
MOST_BYTES = 20_000_000
"""Of one field: the whole form has a limit already."""


async def form_of(request: Request) -> Form:
    """Return the form that was sent, without files. Raises `HTTPException` if it is too big."""
    form = await request.form(max_files=0, max_fields=MOST_FIELDS, max_part_size=MOST_BYTES)
    return {name: value for name, value in form.items() if isinstance(value, str)}


def signed_in_form(endpoint: HandleForm) -> Endpoint:
    """Have a form of ours, of somebody who is signed in, handled on behalf of that user."""

    @wraps(endpoint)
    async def handle(request: Request) -> Response:
        form = await form_of(request)
        if not has_token_of_session(request, form.get("token", "")):
            raise HTTPException(403, "The form is not from here, or too old: load it again.")
        user = user_of(request)
        if user is None:
            return redirect_to_sign_in(request)
        with on_behalf_of(user):
            return await endpoint(request, form)

    return handle


def form_shown_by(show: ShowForm) -> Callable[[HandleForm], Endpoint]:
    """Have what was typed into a form handled; what can't be is shown in it again.

    So nothing typed is lost, also when the session has ended meanwhile.
    """

    def decorate(endpoint: HandleForm) -> Endpoint:
        @wraps(endpoint)
        async def handle(request: Request) -> Response:
            form = await form_of(request)
            user = user_of(request)
            if user is None:
                return show(request, form, {"form": SIGNED_OUT}, 403)
            if not has_token_of_session(request, form.get("token", "")):
                return show(request, form, {"form": TOO_OLD}, 403)
            try:
                await wiki_of(request).remember(user.id, user.name)
                with on_behalf_of(user):
                    return await endpoint(request, form)
            except HTTPException as error:
                return show(request, form, {"form": error.detail}, error.status_code)
            except (OperationalError, PersistenceError):
                return show(request, form, {"form": NO_DATABASE}, 503)

        return handle

    return decorate


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
