"""A network that misbehaves on demand: a TCP proxy in front of a server."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import IntEnum
from typing import NamedTuple
from weakref import WeakSet

import anyio
from anyio.abc import SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

from eventsourcing_kafka.compose.servers.processes import HOST, free_port


class Proxy:
    """Carries connections to a port, until they are cut, refused, or held up without a word."""

    def __init__(self) -> None:
        self.port = free_port()
        self._refuse_for = 0.0
        self._kept: WeakSet[SocketStream] = WeakSet()
        """Connections to the server that are somebody else's by now."""
        self._listening = anyio.CancelScope()
        self._requests = _Gate()
        self._answers = _Gate()

    async def serve(
        self, target: int, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Carry for ever; it has started when it listens."""
        started = False
        while True:
            with anyio.CancelScope() as self._listening:
                async with await anyio.create_tcp_listener(
                    local_host=HOST, local_port=self.port
                ) as listener:
                    if not started:
                        task_status.started()
                        started = True
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
        async with client:
            with suppress(OSError):  # The server is down: the client is turned away.
                server = await anyio.connect_tcp(HOST, target)
                try:
                    async with anyio.create_task_group() as both:
                        both.start_soon(self._ask, client, server, both.cancel_scope)
                        both.start_soon(_pump, server, client, self._answers, both.cancel_scope)
                finally:
                    if server not in self._kept:
                        await anyio.aclose_forcefully(server)

    async def _ask(
        self, client: SocketStream, server: SocketStream, both: anyio.CancelScope
    ) -> None:
        await _pump(client, server, self._requests, both)


class Api(IntEnum):
    """Kinds of requests to Kafka, by their numbers."""

    PRODUCE = 0
    FETCH = 1
    OFFSET_COMMIT = 8
    JOIN_GROUP = 11
    HEARTBEAT = 12
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    END_TXN = 26


class Frame(NamedTuple):
    """A request as it is on its way."""

    api: int
    correlation: int
    data: bytes
    """All of it, its size in front."""


class KafkaProxy(Proxy):
    """Can hold one request back, and deliver it when nobody thinks of it any more."""

    def __init__(self) -> None:
        super().__init__()
        self._awaited: list[HeldRequest] = []

    def hold_back(self, api: Api) -> "HeldRequest":
        """Hold the next request of a kind back, and cut the connection that it comes on.

        For its client it is lost: whether the broker has got it, nobody can tell.
        """
        held = HeldRequest(api, self._awaited)
        self._awaited.append(held)
        return held

    async def _ask(
        self, client: SocketStream, server: SocketStream, both: anyio.CancelScope
    ) -> None:
        incoming = BufferedByteReceiveStream(client)
        with suppress(
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
            anyio.EndOfStream,
            anyio.IncompleteRead,
        ):
            while True:
                frame = await _next_frame(incoming)
                await self._requests.passed()
                if held := next((each for each in self._awaited if each.api == frame.api), None):
                    self._kept.add(server)
                    held.catch(server, frame)
                    break
                await server.send(frame.data)
        both.cancel()


class HeldRequest:
    """A request that is held back, once there is one."""

    def __init__(self, api: Api, awaited: "list[HeldRequest]") -> None:
        self.api = api
        self.caught = anyio.Event()
        self._awaited = awaited
        self._server: SocketStream | None = None
        self._frame: Frame | None = None

    def catch(self, server: SocketStream, frame: Frame) -> None:
        """Take a request, and the connection that it is to be delivered on."""
        self._server, self._frame = server, frame
        self._awaited.remove(self)
        self.caught.set()

    async def deliver(self) -> bool:
        """Deliver it, and wait for the answer; False if its connection has not outlived it."""
        assert self._server
        assert self._frame
        async with self._server as server:
            incoming = BufferedByteReceiveStream(server)
            with suppress(
                OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead
            ):
                await server.send(self._frame.data)
                # What its client had asked for before, on the same connection, is answered first.
                while await _next_answer(incoming) != self._frame.correlation:
                    pass
                return True
        return False

    async def give_up(self) -> None:
        """Wait for it no longer; what has been caught is lost."""
        if self in self._awaited:
            self._awaited.remove(self)
        if self._server:
            await anyio.aclose_forcefully(self._server)


async def _next_frame(incoming: BufferedByteReceiveStream) -> Frame:
    size = await incoming.receive_exactly(4)
    body = await incoming.receive_exactly(*struct.unpack(">i", size))
    api, _version, correlation = struct.unpack(">hhi", body[:8])
    return Frame(api, correlation, size + body)


async def _next_answer(incoming: BufferedByteReceiveStream) -> int:
    """Read an answer, and return which request it is for."""
    (size,) = struct.unpack(">i", await incoming.receive_exactly(4))
    body = await incoming.receive_exactly(size)
    (correlation,) = struct.unpack(">i", body[:4])
    return int(correlation)


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
