"""Serving over HTTP in a test's own loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import uvicorn

from tests.pipeline import until


@asynccontextmanager
async def serving(config: uvicorn.Config) -> AsyncIterator[uvicorn.Server]:
    """Serve during the body, which begins when requests are answered; yield the server."""
    server = uvicorn.Server(config)

    async def serves() -> bool:
        return server.started

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await until(serves)
        yield server
        server.should_exit = True
