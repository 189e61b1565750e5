"""Which server is waited for: said at once, and everywhere in the same words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import anyio

logger = logging.getLogger(__name__)

SLOW_SECONDS = 1.5
"""When a server has not let us in for so long, somebody wonders what is waited for."""


FROM = "from "
"""What a note about an error's server begins with."""


class UnreachableError(Exception):
    """A server can't be reached, or does not let us in. Its text says which, where and why."""


def note_server(error: BaseException, server: str) -> None:
    """Keep with an error which server's it is."""
    if server_noted(error) is None:
        error.add_note(f"{FROM}{server}")


def server_noted(error: BaseException | None) -> str | None:
    """Return which server's an error, or what has caused it, is; None if that was not noted."""
    for each in (error, error and error.__cause__):  # The library has errors of its own.
        for note in getattr(each, "__notes__", ()):
            if note.startswith(FROM):
                return str(note.removeprefix(FROM))
    return None


class Asked:
    """What was asked meanwhile, and has not answered until it was cancelled."""

    server: str | None = None


_asked: ContextVar[Asked | None] = ContextVar("_asked", default=None)
_silent: set[str] = set()
"""The servers of which it is said that they do not answer, until they do."""


@contextmanager
def asking() -> Iterator[Asked]:
    """Find out who has not answered, should what is done meanwhile be cancelled."""
    asked = Asked()
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


@contextmanager
def talking_to(server: str) -> Iterator[None]:
    """Tell who asks that this is the server that is waited for, unless one inside of it is."""
    try:
        yield
    except anyio.get_cancelled_exc_class():
        asked = _asked.get()
        if asked and not asked.server:
            asked.server = server
        raise


@contextmanager
def connecting_to(server: str) -> Iterator[None]:
    """Have the log say, once, that a server does not let us in, while that goes on."""

    def tell() -> None:
        if server not in _silent:
            _silent.add(server)
            logger.warning("no answer from %s yet: waiting for it", server)

    telling = asyncio.get_running_loop().call_later(SLOW_SECONDS, tell)
    try:
        with talking_to(server):
            yield
        _silent.discard(server)
    finally:
        telling.cancel()
