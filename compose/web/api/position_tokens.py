"""Tokens of positions: a command gives one, and what reads with it reads what the command did.

They are signed. So nobody can make one for a position that has never been, and wait for it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Header, Query
from itsdangerous import BadSignature, URLSafeSerializer
from starlette.requests import Request

from eventsourcing_kafka.compose.web.api.problems import (
    NOT_REACHED,
    Fault,
    ProblemError,
    invalid_request,
)
from eventsourcing_kafka.compose.web.wiki.own_writes import WAIT_SECONDS, has_applied
from eventsourcing_kafka.consumer.engine.store import ViewStore

HEADER = "Wiki-Position"
LONGEST = 200

_ABOUT = (
    "What a command, or the reading of a page, has answered as its position: the "
    f"answer is at least that new. That is waited for, {WAIT_SECONDS:g} seconds at most; then the "
    "answer is 503, of the type position-not-reached."
)


class PositionTokens:
    """Makes tokens, and knows its own."""

    def __init__(self, secret: str) -> None:
        signing = {"digest_method": sha256, "key_derivation": "hmac"}
        self._signer = URLSafeSerializer(secret, salt="position", signer_kwargs=signing)

    def token(self, position: int) -> str:
        """Return the token for a position."""
        token: str = self._signer.dumps(position)
        return token

    def of(self, token: str) -> int:
        """Return what a token is for. Raises `BadSignature` for one of another's making."""
        loaded = self._signer.loads(token)
        # Once they were made with a page beside it.
        position: int = loaded[0] if isinstance(loaded, list) else loaded
        return position


async def _awaited(
    request: Request,
    position: Annotated[str | None, Query(max_length=LONGEST, description=_ABOUT)] = None,
    wiki_position: Annotated[
        str | None,
        Header(alias=HEADER, max_length=LONGEST, description="As the parameter `position`."),
    ] = None,
) -> int | None:
    name, token = ("position", position) if position is not None else (HEADER, wiki_position)
    if token is None:
        return None
    positions: PositionTokens = request.app.state.position_tokens
    try:
        return positions.of(token)
    except BadSignature:
        raise invalid_request(Fault(name, "this is no position from here")) from None


Awaited = Annotated[int | None, Depends(_awaited)]
"""The position that a request reads from, if it says one."""


async def wait_for_position(store: ViewStore, awaited: int | None) -> None:
    """Wait until a view has what is awaited, or refuse the request."""
    if awaited is not None and not await has_applied(store, awaited):
        message = f"After {WAIT_SECONDS:g} seconds the view {store.view.name} is still behind."
        raise ProblemError(NOT_REACHED, message)
