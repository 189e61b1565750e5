"""Signing in with nothing but a name: for a wiki on the machine of the one who uses it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from compose.web.acting.session import is_from_our_form, let_in
from compose.web.showing import page as shown

LONGEST_NAME = 60


class NameOnly:
    """Lets in whoever gives a name."""

    def __init__(self) -> None:
        self.routes: list[BaseRoute] = [
            Route("/sign-in", _ask, name="sign_in"),
            Route("/sign-in", _enter, methods=["POST"]),
            Route("/sign-out", _leave, methods=["POST"]),
        ]


async def _ask(request: Request) -> Response:
    return shown(request, "acting/sign_in", fault="")


async def _enter(request: Request) -> Response:
    form = await request.form()
    name = " ".join(str(form.get("name", "")).split())
    if not is_from_our_form(request, str(form.get("token", ""))):
        return shown(
            request, "acting/sign_in", status=403, fault="The form was too old: try again."
        )
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        fault = f"A name has 1 to {LONGEST_NAME} characters that can be seen."
        return shown(request, "acting/sign_in", status=422, fault=fault)
    let_in(request, name.casefold(), name)
    return RedirectResponse("/", 303)


async def _leave(request: Request) -> Response:
    form = await request.form()
    if is_from_our_form(request, str(form.get("token", ""))):
        request.session.clear()
    return RedirectResponse("/", 303)
