"""Signing in with nothing but a name: for a wiki on the machine of the one who uses it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from eventsourcing_kafka.compose.web.auth.forms import Form, form_of
from eventsourcing_kafka.compose.web.auth.session import (
    has_token_of_session,
    safe_path,
    start_session,
)
from eventsourcing_kafka.compose.web.rendering import render

LONGEST_NAME = 60


class NameOnly:
    """Lets in whoever gives a name."""

    def __init__(self) -> None:
        self.routes: list[BaseRoute] = [
            Route("/sign-in", _ask, name="sign_in"),
            Route("/sign-in", _enter, methods=["POST"]),
        ]


async def _ask(request: Request) -> Response:
    return _form(request, safe_path(request.query_params.get("next", "/")))


async def _enter(request: Request) -> Response:
    form = await form_of(request)
    name, onward = _name(form), safe_path(form.get("next", "/"))
    if not has_token_of_session(request, form.get("token", "")):
        return _form(request, onward, status=403, fault="The form was too old: try again.")
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        fault = f"A name has 1 to {LONGEST_NAME} characters that can be seen."
        return _form(request, onward, status=422, fault=fault)
    start_session(request, name.casefold(), name, known_as=[name.casefold()])
    return RedirectResponse(onward, 303)


def _name(form: Form) -> str:
    return " ".join(form.get("name", "").split())


def _form(request: Request, onward: str, *, status: int = 200, fault: str = "") -> Response:
    return render(
        request,
        "auth/sign_in",
        status=status,
        fault=fault,
        onward=onward,
        operators=sorted(request.app.state.operators),
    )
