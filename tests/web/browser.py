"""A browser without a screen."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from html import unescape

import anyio
from httpx2 import ASGITransport, AsyncClient, Response
from starlette.applications import Starlette

from eventsourcing_kafka.compose.web.app import web_app
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.status import read_status
from eventsourcing_kafka.consumer.views.activity import VIEW as ACTIVITY
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from tests.pipeline import Pipeline, until

TOKEN = re.compile(r'name="token" value="([^"]+)"')
HIDDEN = re.compile(r'type="hidden" name="(version|page|was)" value="([^"]*)"')


class Browser:
    """Somebody at the wiki, with a session."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    async def get(self, path: str) -> Response:
        """Open an address."""
        return await self.client.get(path)

    async def submit(self, path: str, **fields: str) -> Response:
        """Fill in the form at an address, send it, and go where that leads."""
        form = await self.get(path)
        (token, *_) = TOKEN.findall(form.text)
        hidden = {name: unescape(value) for name, value in HIDDEN.findall(form.text)}
        answer = await self.client.post(path, data={"token": token, **hidden, **fields})
        return await self.follow(answer)

    async def follow(self, answer: Response) -> Response:
        """Go where an answer leads."""
        while answer.is_redirect:
            answer = await self.get(answer.headers["location"])
        return answer

    async def sign_in(self, name: str) -> None:
        """Become somebody."""
        assert "Recent changes" in (await self.submit("/sign-in", name=name)).text


@asynccontextmanager
async def piped(
    environment: Mapping[str, str], *, consumers: int = 1
) -> AsyncIterator[tuple[Pipeline, Starlette]]:
    """Run a wiki's pipeline; yield that, and the application, to be served."""
    async with AsyncExitStack() as exits:
        pipeline = await exits.enter_async_context(Pipeline(environment, consumers=consumers))
        activity = ViewStore.of(ACTIVITY, environment)
        settings = KafkaSettings.from_env(environment)
        tasks = await exits.enter_async_context(anyio.create_task_group())
        exits.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(Consumer(activity, settings, grace=0).run)
        app = web_app(environment, "a secret of the tests")
        await exits.enter_async_context(app.router.lifespan_context(app))
        for store in (pipeline.store, activity) if consumers else (activity,):
            await until(partial(is_consumed, store, settings))
        yield pipeline, app


async def is_consumed(store: ViewStore, settings: KafkaSettings) -> bool:
    """Tell whether consumers have all partitions: what is written now is soon in the view."""
    rows = await read_status(store, settings)
    return bool(rows) and all(row.owner for row in rows)


@asynccontextmanager
async def served(
    environment: Mapping[str, str], *, consumers: int = 1
) -> AsyncIterator[tuple[Pipeline, Browser, Browser]]:
    """Serve a wiki, with its pipeline; yield that, and two browsers of two people."""
    async with AsyncExitStack() as exits:
        pipeline, app = await exits.enter_async_context(piped(environment, consumers=consumers))
        browsers = [
            Browser(
                await exits.enter_async_context(
                    AsyncClient(transport=ASGITransport(app), base_url="http://localhost")
                )
            )
            for _ in range(2)
        ]
        await browsers[0].sign_in("Ann")
        await browsers[1].sign_in("Bob")
        yield pipeline, browsers[0], browsers[1]


def text_of(answer: Response) -> str:
    """Return what a reader reads."""
    return unescape(re.sub(r"<[^>]+>", "", answer.text))
