"""An HTTP server that is a part of a process, and ends with a cancel scope."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import uvicorn


async def serve(
    config: uvicorn.Config,
    listener: socket.socket,
    *,
    before_shutdown: Callable[[], None] = lambda: None,
) -> None:
    """Answer on a listener until cancelled, then close it.

    Answers that are on their way then have `timeout_graceful_shutdown` of the configuration;
    `before_shutdown` may end those that would go on for ever.
    """
    server = _Server(config)
    with listener:
        try:
            await server.serve(sockets=[listener])
        finally:
            before_shutdown()
            with anyio.CancelScope(shield=True):
                await server.shutdown(sockets=[listener])


class _Server(uvicorn.Server):
    """Leaves the signals to the process that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
