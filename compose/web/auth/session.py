"""Who is signed in: the session of a browser."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Collection
from string import punctuation
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote
from uuid import NAMESPACE_URL, UUID, uuid5

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute

SESSION_SECONDS = 14 * 24 * 3600
"""From one sign-in to the next, whatever is done in between."""

MAX_PATH_CHARS = 1_000
"""Characters of an address to come back to, as it is carried along: a cookie has 4,096."""


class User(NamedTuple):
    """Somebody who has signed in."""

    id: UUID
    name: str
    operator: bool = False
    """Whether the pipeline may be seen, and acted on."""
    known_as: tuple[str, ...] = ()
    """What the list of operators may call the user."""
    operator_until: float = 0.0
    """Until then, in seconds since 1970, a claim makes an operator of the user."""


class SignIn(Protocol):
    """A way to sign in: the routes of it, of which one is named `sign_in`.

    When somebody has signed in there, a route calls `start_session`.
    """

    routes: list[BaseRoute]


def start_session(
    request: Request,
    subject: str,
    name: str,
    *,
    known_as: Collection[str] = (),
    operator_until: float = 0.0,
) -> None:
    """Begin the session of a user.

    `subject` is what tells the user from all others, for ever: the same one is the same user.
    Who is on the list of operators, by one of the names in `known_as`, is one for as long as it
    is there: each request looks. Who is one by what a provider claimed is asked for no more, and
    stays one until `operator_until`.
    """
    user_id = uuid5(NAMESPACE_URL, f"/users/{subject}")
    # A new session: what somebody put into the old one, a token for one, is worth nothing here.
    request.session.clear()
    request.session["user"] = session_value_of(
        User(user_id, name, known_as=tuple(known_as), operator_until=operator_until)
    )
    request.session["until"] = time.time() + SESSION_SECONDS


def user_of(request: Request) -> User | None:
    """Return who is signed in, None if nobody is."""
    if time.time() > request.session.get("until", 0.0):
        return None
    return user_from(request.session.get("user"), request.app.state.operators)


def session_value_of(user: User) -> list[Any]:
    """Return what a session, or a token, carries of a user: all but what is decided each time."""
    return [str(user.id), user.name, list(user.known_as), user.operator_until]


def user_from(carried: object, operators: Collection[str]) -> User | None:
    """Return the user that a session or a token carries, None if it is of none, or too old."""
    match carried:
        case [str(user_id), str(name), [*known_as], float(operator_until)]:
            called = tuple(map(str, known_as))
            listed = any(name in operators for name in called)
            operator = listed or time.time() < operator_until
            return User(UUID(user_id), name, operator, called, operator_until)
    return None


def redirect_to_sign_in(request: Request) -> RedirectResponse:
    """Send somebody to sign in, and to come back here then."""
    path: bytes = request.scope["raw_path"]  # A `?` in a slug is no beginning of a query.
    here = path.decode("latin-1") + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/sign-in?next={quote(here, safe='/')}", 303)


def safe_path(wanted: str) -> str:
    """Return an address of our own to go on to: the one that is wanted, if it is one."""
    # Browsers take a backslash for a slash, and leave out what can't be printed.
    plain = wanted.isprintable() and "\\" not in wanted
    if not (plain and wanted.startswith("/") and not wanted.startswith("//")):
        return "/"
    encoded = quote(wanted, safe=punctuation)
    return encoded if len(encoded) <= MAX_PATH_CHARS else "/"


def token_of(request: Request) -> str:
    """Return what the forms of this session carry, to tell them from those of other sites."""
    token: str = request.session.setdefault("token", secrets.token_urlsafe(24))
    return token


def has_token_of_session(request: Request, token: str) -> bool:
    """Tell whether a form carries the token of its session."""
    expected = request.session.get("token", "")
    return bool(expected) and hmac.compare_digest(expected.encode(), token.encode())
