"""A network that misbehaves on demand: a TCP proxy in front of a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import SocketStream

from eventsourcing_kafka.compose.servers.processes import HOST, free_port


class Proxy:
    """Carries connections to a port, until they are cut, refused, or held up without a word."""

    def __init__(self) -> None:
        self.port = free_port()
        self._refuse_for = 0.0
        self._listening = anyio.CancelScope()
        self._requests = _Gate()
        self._answers = _Gate()

    async def serve(self, target: int) -> None:
        """Carry for ever."""
        while True:
            with anyio.CancelScope() as self._listening:
                async with await anyio.create_tcp_listener(
                    local_host=HOST, local_port=self.port
                ) as listener:
                    await listener.serve(lambda client: self._carry(client, target))
            await anyio.sleep(self._refuse_for)

    def cut(self, refuse_for: float = 0.0) -> None:
        """End all connections, with what is on its way in them, and refuse new ones for a time."""
        self._refuse_for = refuse_for
        self._listening.cancel()

    @asynccontextmanager
    async def silence(self, *, answers_only: bool) -> AsyncIterator[None]:
        """Hold everything up meanwhile, and close nothing.

        With `answers_only` the server gets its requests and does what they say; nobody is told.
        """
        gates = [self._answers] if answers_only else [self._requests, self._answers]
        for gate in gates:
            gate.shut()
        try:
            yield
        finally:
            for gate in gates:
                gate.open()

    async def _carry(self, client: SocketStream, target: int) -> None:
        with suppress(OSError):  # The server is down: the client is turned away.
            async with (
                client,
                await anyio.connect_tcp(HOST, target) as server,
                anyio.create_task_group() as both,
            ):
                both.start_soon(_pump, client, server, self._requests, both.cancel_scope)
                both.start_soon(_pump, server, client, self._answers, both.cancel_scope)


class _Gate:
    """Open, or shut by any number of people."""

    def __init__(self) -> None:
        self._shut_by = 0
        self._opened = anyio.Event()

    def shut(self) -> None:
        self._shut_by += 1

    def open(self) -> None:
        self._shut_by -= 1
        if not self._shut_by:
            self._opened.set()
            self._opened = anyio.Event()

    async def passed(self) -> None:
        while self._shut_by:
            await self._opened.wait()


async def _pump(
    source: SocketStream, sink: SocketStream, gate: _Gate, both: anyio.CancelScope
) -> None:
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for data in source:
            await gate.passed()
            await sink.send(data)
    both.cancel()
