"""Ends a coroutine, or its connection, at the n-th point where it waits."""

import select
import socket
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

import anyio
from psycopg import AsyncConnection

T = TypeVar("T")


class Interrupted(Generic[T]):
    """Awaits a coroutine, and calls `interrupt` when it waits for the n-th time."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], n: int, interrupt: Callable[[], None]
    ) -> None:
        self.happened = False
        self._coroutine = coroutine
        self._n = n
        self._interrupt = interrupt

    def __await__(self) -> Generator[Any, Any, T]:
        waits, sent, thrown = 0, None, None
        while True:
            try:
                waits_for = self._coroutine.throw(thrown) if thrown else self._coroutine.send(sent)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            waits += 1
            if waits == self._n:
                self.happened = True
                self._interrupt()
            sent = thrown = None
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's to catch
                thrown = error


def cancel(scope: anyio.CancelScope, _: AsyncConnection[Any]) -> None:
    """Cancel whoever works in the scope."""
    scope.cancel()


def cut_off(_: anyio.CancelScope, connection: AsyncConnection[Any]) -> None:
    """Lose the connection before the answer comes."""
    with socket.socket(fileno=connection.pgconn.socket) as ours:
        ours.shutdown(socket.SHUT_RDWR)
        ours.detach()


def cut_off_with_the_answer_unread(
    scope: anyio.CancelScope, connection: AsyncConnection[Any]
) -> None:
    """Lose the connection when the server has done what it was asked for."""
    select.select([connection.pgconn.socket], [], [], 1)
    cut_off(scope, connection)
