"""Asks a wiki as many browsers would, and prints how long each answer took.

A process of its own, and little else than sockets: it shares the machine with what it measures.

    echo '{"port": 8080, "paths": ["/"], "clients": 4, "rate": 50, "seconds": 5}' |
        python -m tests.benchmarks.load
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec

WARM_UP = 0.2
"""Of the time: answers in this first part count for nothing."""


class Load(msgspec.Struct, frozen=True):
    """What is asked, and how often."""

    port: int
    paths: list[str]
    clients: int
    """Connections, kept alive; each has one request on its way at a time."""
    rate: float | None
    """Requests a second, of all clients; None: each client asks again as soon as it has an answer.

    With a rate, a request that comes late, as no client was free, has taken longer by that.
    """
    seconds: float
    cookie: str = ""
    windows: int = 0
    """So many look at the pipeline meanwhile."""


class Took(msgspec.Struct, frozen=True):
    """What came of it."""

    milliseconds: list[float]
    seconds: float
    """In which these were answered."""


async def put_on(load: Load) -> Took:
    """Ask, for so many seconds. Raises `RuntimeError` at an answer that is none."""
    begin = time.perf_counter()
    number, took = 0, []

    async def ask() -> None:
        nonlocal number
        reader, writer = await asyncio.open_connection("127.0.0.1", load.port)
        while time.perf_counter() < begin + load.seconds:
            mine, number = number, number + 1
            due = begin + mine / load.rate if load.rate else time.perf_counter()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await _answered(reader, writer, load.paths[mine % len(load.paths)], load.cookie)
            if due > begin + WARM_UP * load.seconds:
                took.append((time.perf_counter() - due) * 1000)
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        windows = [tasks.create_task(_looked(load)) for _ in range(load.windows)]
        await asyncio.gather(*(ask() for _ in range(load.clients)))
        await asyncio.sleep(begin + load.seconds - time.perf_counter())
        for window in windows:
            window.cancel()
    return Took(took, (1 - WARM_UP) * load.seconds)


async def _looked(load: Load) -> None:
    """Look at the live page, for ever."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", load.port)
        writer.write(_request("/pipeline/live", load.cookie))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode())
        while await reader.read(100_000):
            pass
        writer.close()


async def _answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, cookie: str
) -> None:
    writer.write(_request(path, cookie))
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    body = await reader.readexactly(length)
    if not head.startswith(b"http/1.1 200 "):
        raise RuntimeError(f"{path}: {head.decode()}{body.decode()}")


def _request(path: str, cookie: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\ncookie: {cookie}\r\n\r\n".encode()


if __name__ == "__main__":
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(put_on(wanted))))
