"""A browser with a screen: Chromium, at a wiki that is really served."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import anyio
import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from starlette.applications import Starlette

from eventsourcing_kafka.compose.servers.processes import HOST, free_port
from tests.chaos.proxy import Proxy
from tests.pipeline import Pipeline, until
from tests.serving import serving

from .browser import piped

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 60_000
"""What a page is waited for longer will not come, nor on a busy machine."""

# Chromium says on its console what its policy has refused; this says it of any document.
TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (refused) =>
  console.error("refused by the policy:", refused.violatedDirective, refused.blockedURI));
"""
NOT_FOUND = "Failed to load resource: the server responded with a status of"


class NoBrowserError(Exception):
    """There is no Chromium, nor Chrome, on this machine."""

    def __init__(self) -> None:
        super().__init__(
            f"no browser: none of {', '.join(NAMES)} is on the PATH, nor has Playwright one of "
            "its own. Install one, on Debian by: apt-get install chromium"
        )


class Served(NamedTuple):
    """A wiki on a port, and what stands behind it."""

    pipeline: Pipeline
    port: int

    @property
    def address(self) -> str:
        """What to open."""
        return address_of(self.port)


class Visitor:
    """Somebody at a browser. What it complains of is kept."""

    def __init__(self, context: BrowserContext, page: Page, expected: str | None) -> None:
        self.page = page
        self._expected = expected
        self.complaints: list[str] = []
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("dialog", self._refuse)

    async def sign_in(self, name: str) -> None:
        """Become somebody."""
        await self.page.goto("/sign-in")
        await self.page.get_by_label("Name").fill(name)
        await self.page.get_by_role("main").get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("button", name="Sign out").wait_for()

    async def write(self, slug: str, title: str, *bodies: str) -> None:
        """Make a page, and give it one body after the other."""
        await self.page.goto("/new")
        await self.page.get_by_label("Title").fill(title)
        await self.page.get_by_label("Slug").fill(slug)
        await self.page.get_by_role("button", name="Make the page").click()
        for number, body in enumerate(bodies):
            if number:
                await self.page.get_by_role("link", name="Edit", exact=True).click()
            await self.page.get_by_label("in Markdown").fill(body)
            await self.page.get_by_role("button", name="Save").click()
            await self.page.wait_for_url("**/wiki/**")

    def _hear(self, message: Any) -> None:
        # A page that says that there is none is a failure for the console as well.
        said = message.text
        missing = said.startswith(NOT_FOUND) and "/static/" not in message.location["url"]
        expected = missing or (self._expected and self._expected in said)
        if message.type in {"error", "warning"} and not expected:
            self.complaints.append(f"{message.text} at {message.location}")

    async def _refuse(self, dialog: Any) -> None:
        self.complaints.append(f"{dialog.type}: {dialog.message}")
        await dialog.dismiss()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start a browser. Raises `NoBrowserError`."""
    async with async_playwright() as playwright:
        found = next(filter(None, map(shutil.which, NAMES)), None)
        if not found and not await anyio.Path(playwright.chromium.executable_path).exists():
            raise NoBrowserError
        browser = await playwright.chromium.launch(executable_path=found)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser, address: str, *, expected: str | None = None, **options: Any
) -> AsyncIterator[Visitor]:
    """Yield somebody with a browser that has been nowhere yet, and that complains of nothing.

    What has `expected` in it is no complaint.
    """
    context = await browser.new_context(base_url=address, reduced_motion="reduce", **options)
    context.set_default_timeout(PATIENCE_MS)
    if options.get("java_script_enabled", True):
        await context.add_init_script(TELL_VIOLATIONS)
    try:
        visitor = Visitor(context, await context.new_page(), expected)
        yield visitor
        assert not visitor.complaints, visitor.complaints
    finally:
        await context.close()


@asynccontextmanager
async def served(environment: Mapping[str, str]) -> AsyncIterator[Served]:
    """Serve a wiki, with its pipeline, on a port of this machine."""
    port = free_port()
    async with piped(environment) as (pipeline, app), on_port(app, port):
        yield Served(pipeline, port)


@asynccontextmanager
async def proxied(port: int) -> AsyncIterator[Proxy]:
    """Yield what stands between a browser and a port, to be cut, or held up."""
    proxy = Proxy()

    async def carries() -> bool:
        with suppress(OSError):
            async with await anyio.connect_tcp(HOST, proxy.port):
                return True
        return False

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(proxy.serve, port)
        await until(carries)
        yield proxy
        tasks.cancel_scope.cancel()


def address_of(port: int) -> str:
    """Return what to open of what listens on a port."""
    return f"http://{HOST}:{port}"


@asynccontextmanager
async def on_port(app: Starlette, port: int) -> AsyncIterator[None]:
    """Answer on a port; the application is opened, and closed, by others."""
    config = uvicorn.Config(
        app, host=HOST, port=port, lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    async with serving(config):
        yield
