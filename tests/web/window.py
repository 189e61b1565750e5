"""Those who look through the window on the pipeline, over HTTP, as a browser does."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from html import unescape

import anyio
import uvicorn
from httpx2 import AsyncClient, Response
from starlette.applications import Starlette

from eventsourcing_kafka.compose.web.app import web_app
from eventsourcing_kafka.compose.web.pipeline.polling import Pace
from eventsourcing_kafka.compose.web.pipeline.window import Window
from eventsourcing_kafka.compose.web.serving import address_of
from eventsourcing_kafka.producer.runtime.http_server import serve
from tests.pipeline import Pipeline, until

from .browser import TOKEN, Browser, text_of

CARD = re.compile(r'<article class="card \w+" id="([^"]+)".*?</article>', re.DOTALL)
VERDICT = re.compile(r'<li class="\w+">(.*?)</li>')
TWO = {
    "KAFKA_TOPIC_PARTITIONS": "2",
    "KAFKA_SESSION_TIMEOUT_MS": "1500",
    "WEB_OPERATORS": "olga",
}


class Feed:
    """What the window pushes, as it comes."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.html = ""
        self.count = 0
        self.closed = anyio.Event()

    async def follow(self) -> None:
        """Take what comes until it is cancelled, or the server ends it."""
        async with self._client.stream("GET", "/pipeline/live") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines: list[str] = []
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    lines.append(line.removeprefix("data: "))
                elif not line and lines:
                    self.html, lines = "\n".join(lines), []
                    self.count += 1
        self.closed.set()

    def verdicts(self, part: str) -> list[str]:
        """Return what is said of a part."""
        (card,) = (found[0] for found in CARD.finditer(self.html) if found[1] == part)
        return [unescape(words) for words in VERDICT.findall(card)]

    async def says(self, part: str, *words: str) -> None:
        """Wait until exactly this is said of a part, each word at the start of a verdict."""

        async def is_said() -> bool:
            found = self.verdicts(part) if self.html else []
            return len(found) == len(words) and all(map(str.startswith, found, words))

        await until(is_said)

    async def shows(self, words: str) -> None:
        """Wait until it can be read."""

        async def is_shown() -> bool:
            return words in text_of(Response(200, html=self.html))

        await until(is_shown)


class Served:
    """The window of a pipeline that runs, and who looks through it."""

    def __init__(self, app: Starlette, address: str, exits: AsyncExitStack) -> None:
        self.window: Window = app.state.pipeline
        self._address = address
        self._exits = exits

    async def browser(self, name: str) -> Browser:
        """Return the browser of somebody."""
        client = AsyncClient(base_url=self._address, timeout=30.0)
        browser = Browser(await self._exits.enter_async_context(client))
        if name:
            await browser.sign_in(name)
        return browser

    @asynccontextmanager
    async def feed(self, browser: Browser) -> AsyncIterator[Feed]:
        """Watch, and leave at the end."""
        feed = Feed(browser.client)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed.follow)
            yield feed
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def looked_at(environment: Mapping[str, str]) -> AsyncIterator[tuple[Pipeline, Served]]:
    """Run a pipeline, and the window on it."""
    async with AsyncExitStack() as exits:
        pipeline = await exits.enter_async_context(Pipeline({**environment, **TWO}))
        app = web_app(pipeline.environment, "a secret of the tests", pace=Pace(0.1, 1.0))
        await exits.enter_async_context(app.router.lifespan_context(app))
        listener = exits.enter_context(socket.create_server(("127.0.0.1", 0)))
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, log_level="error", timeout_graceful_shutdown=1
        )
        tasks = await exits.enter_async_context(anyio.create_task_group())
        tasks.start_soon(serve, config, listener)
        async with AsyncExitStack() as browsers:
            yield pipeline, Served(app, address_of(listener), browsers)
        tasks.cancel_scope.cancel()


async def act(browser: Browser, path: str, **fields: str) -> Response:
    """Answer the question at an address, and go where that leads."""
    question = await browser.get(path)
    assert question.status_code == 200, text_of(question)
    (token, *_) = TOKEN.findall(question.text)
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', question.text))
    answer = await browser.client.post(path, data={**hidden, "token": token, **fields})
    return await browser.follow(answer)


async def comes_true(condition: Callable[[], bool]) -> None:
    """Wait for something in this process."""

    async def is_so() -> bool:
        return condition()

    await until(is_so)
