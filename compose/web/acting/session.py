"""Who is acting: the session of a browser, and the user on whose behalf its commands run."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol
from uuid import NAMESPACE_URL, UUID, uuid5

from starlette.requests import Request
from starlette.routing import BaseRoute

from producer.contentmanagement.domainmodel import user_id_cvar


class User(NamedTuple):
    """Somebody who has signed in."""

    id: UUID
    name: str
    operator: bool = False
    """Whether the pipeline may be seen, and acted on."""


class SignIn(Protocol):
    """A way to sign in: the routes of it, of which one is named `sign_in`.

    When somebody has signed in there, a route calls `let_in`.
    """

    routes: list[BaseRoute]


def let_in(request: Request, subject: str, name: str, *, operator: bool = False) -> None:
    """Begin the session of a user.

    `subject` is what tells the user from all others, for ever: the same one is the same user.
    """
    user_id = uuid5(NAMESPACE_URL, f"/users/{subject}")
    # A new session: what somebody put into the old one, a token for one, is worth nothing here.
    request.session.clear()
    request.session["user"] = [str(user_id), name, operator]


def user_of(request: Request) -> User | None:
    """Return who is signed in, None if nobody is."""
    match request.session.get("user"):
        case [user_id, name, operator]:
            return User(UUID(user_id), name, operator)
    return None


@contextmanager
def acting(user: User) -> Iterator[None]:
    """Run commands on behalf of a user, in the body, and in the threads that it waits for."""
    token = user_id_cvar.set(user.id)
    try:
        yield
    finally:
        user_id_cvar.reset(token)


def token_of(request: Request) -> str:
    """Return what the forms of this session carry, to tell them from those of other sites."""
    token: str = request.session.setdefault("token", secrets.token_urlsafe(24))
    return token


def is_from_our_form(request: Request, token: str) -> bool:
    """Tell whether a form carries the token of its session."""
    expected = request.session.get("token", "")
    return bool(expected) and hmac.compare_digest(expected.encode(), token.encode())
