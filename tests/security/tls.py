"""TLS in front of the embedded Postgres, which is built without it.

The other end is the real one: it is libpq that asks for TLS, and judges the certificate.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

from eventsourcing_kafka.compose.servers.processes import HOST

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""Length and code: how a client of Postgres asks for TLS."""

LOST = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError)


@asynccontextmanager
async def behind_tls(port: int, certificate: Path, key: Path) -> AsyncIterator[int]:
    """Listen on another port, with TLS, for the server on `port`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    listener = await anyio.create_tcp_listener(local_host=HOST)
    async with listener, anyio.create_task_group() as serving:
        serving.start_soon(listener.serve, partial(_serve, port, context))
        yield listener.extra(SocketAttribute.local_port)
        serving.cancel_scope.cancel()


async def _serve(port: int, context: ssl.SSLContext, client: ByteStream) -> None:
    async with client:
        try:
            if await BufferedByteReceiveStream(client).receive_exactly(8) != SSL_REQUEST:
                return
            await client.send(b"S")
            inside = await TLSStream.wrap(
                client, server_side=True, ssl_context=context, standard_compatible=False
            )
            async with (
                inside,
                await anyio.connect_tcp(HOST, port) as server,
                anyio.create_task_group() as both_ways,
            ):
                both_ways.start_soon(_pass_on, inside, server, both_ways.cancel_scope)
                both_ways.start_soon(_pass_on, server, inside, both_ways.cancel_scope)
        except (*LOST, anyio.IncompleteRead, OSError):
            return


async def _pass_on(one: ByteStream, other: ByteStream, both_ways: anyio.CancelScope) -> None:
    try:
        async for data in one:
            await other.send(data)
    except LOST:
        pass
    both_ways.cancel()
