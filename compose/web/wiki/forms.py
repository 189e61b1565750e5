"""Forms that change the wiki: handled on behalf of a user, and never lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

from eventsourcing.persistence import PersistenceError
from psycopg import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from eventsourcing_kafka.compose.web.auth.forms import (
    Endpoint,
    Faults,
    Form,
    HandleForm,
    form_of,
)
from eventsourcing_kafka.compose.web.auth.session import User, has_token_of_session, user_of
from eventsourcing_kafka.compose.web.wiki.model import wiki_of
from eventsourcing_kafka.producer.contentmanagement.domainmodel import user_id_cvar

ShowForm = Callable[[Request, Form, Faults, int], Response]
"""Shows a form with what was typed, what is wrong with it, and a status."""
SIGNED_OUT = "You are not signed in, or no longer. Nothing is saved yet."
TOO_OLD = "This form was older than your session, so nothing is saved yet. Send it once more."
NO_DATABASE = (
    "The database does not answer at the moment, so this may not be saved. Try again shortly."
)


@contextmanager
def on_behalf_of(user: User) -> Iterator[None]:
    """Run commands on behalf of a user, in the body, and in the threads that it waits for."""
    token = user_id_cvar.set(user.id)
    try:
        yield
    finally:
        user_id_cvar.reset(token)


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
