"""Tokens for programs: who has one acts as the user who asked for it, over the API alone."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventsourcing_kafka.compose.web.auth.forms import Form, signed_in_form
from eventsourcing_kafka.compose.web.auth.session import (
    User,
    redirect_to_sign_in,
    session_value_of,
    user_from,
    user_of,
)
from eventsourcing_kafka.compose.web.rendering import render

DAYS = 30
LONGEST = 4_000
"""Characters of a token that is looked at."""


class Tokens:
    """Makes and reads tokens. They are signed with the secret of the sessions, and kept nowhere.

    So a token ends with its age, or when the secret is changed; signing out does not end it.
    """

    def __init__(self, secret: str, operators: Collection[str]) -> None:
        signing = {"digest_method": sha256, "key_derivation": "hmac"}
        # With a salt of its own: what signs a session is no token, and the other way round.
        self._signer = URLSafeTimedSerializer(secret, salt="token", signer_kwargs=signing)
        self._operators = operators

    def token_for(self, user: User) -> str:
        """Return a token with which a program acts as a user, for so many `DAYS`."""
        token = self._signer.dumps(session_value_of(user))
        return token if isinstance(token, str) else token.decode()

    def user_of_token(self, text: str) -> User | None:
        """Return whose token it is; None if it is none of ours, or too old.

        Whether the user is an operator is decided as for a session, now.
        """
        if len(text) > LONGEST:
            return None
        try:
            carried = self._signer.loads(text, max_age=DAYS * 24 * 3600)
        except BadData:
            return None
        return user_from(carried, self._operators)


async def ask(request: Request) -> Response:
    """Ask whether a token is wanted."""
    if user_of(request) is None:
        return redirect_to_sign_in(request)
    return render(request, "auth/token", made="", days=DAYS)


@signed_in_form
async def make(request: Request, _form: Form) -> Response:
    """Show a new token, once."""
    user = user_of(request)
    assert user is not None  # noqa: S101 - nobody else's form is handled
    tokens: Tokens = request.app.state.tokens
    answer = render(request, "auth/token", made=tokens.token_for(user), days=DAYS)
    answer.headers["cache-control"] = "no-store"
    return answer


ROUTES = [Route("/token", ask), Route("/token", make, methods=["POST"])]
