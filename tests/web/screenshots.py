"""Pictures of the wiki: its pages, on a desk and on a phone, in light and in dark.

    python -m tests.web.screenshots --repo . --into build/screenshots

starts everything, imports the history of a git repository, and goes from page to page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import typer
from playwright.async_api import Browser

from compose.parts import SERVERS
from compose.stack import Stack
from consumer.store import ViewStore
from consumer.views import view_named
from producer.importer.git_import import GitImporter
from producer.importer.history import History
from tests.pipeline import ROOT

from .chromium import Served, Visitor, chromium, served, visiting

SCREENS: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1280, "height": 860}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")


async def home(visitor: Visitor) -> None:
    await visitor.page.goto("/")


async def a_page(visitor: Visitor) -> None:
    await visitor.page.goto("/wiki/README.md")


async def its_history(visitor: Visitor) -> None:
    await visitor.page.goto("/history/README.md")


async def all_pages(visitor: Visitor) -> None:
    await visitor.page.goto("/pages")


async def contributors(visitor: Visitor) -> None:
    await visitor.page.goto("/contributors")


async def a_search(visitor: Visitor) -> None:
    await visitor.page.goto('/search?q="exactly once" OR rebuild')


async def an_edit(visitor: Visitor) -> None:
    await visitor.page.goto("/edit/README.md")


async def a_conflict(visitor: Visitor) -> None:
    page = visitor.page
    await page.goto("/edit/LICENSE")
    await page.locator("[name=version]").evaluate("(hidden) => { hidden.value = 0; }")
    body = page.locator("textarea[name=body]")
    await body.fill("# Licence\n\n" + await body.input_value())
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("alert").wait_for()


async def signing_in(visitor: Visitor) -> None:
    await visitor.page.goto("/sign-in")


SCENES: dict[str, Callable[[Visitor], Awaitable[None]]] = {
    "home": home,
    "page": a_page,
    "history": its_history,
    "pages": all_pages,
    "contributors": contributors,
    "search": a_search,
    "edit": an_edit,
    "conflict": a_conflict,
    "sign-in": signing_in,
}

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def main(
    repo: Annotated[Path, typer.Option(help="A git repository.")] = ROOT,
    into: Annotated[Path, typer.Option(help="A folder.")] = ROOT / "build" / "screenshots",
    only: Annotated[
        list[str] | None, typer.Option(help=f"Some of: {', '.join(SCENES)}; repeatable.")
    ] = None,
) -> None:
    """Start everything on the history of a repository, and make the pictures."""
    into.mkdir(parents=True, exist_ok=True)
    anyio.run(_pictured, repo, into, only or list(SCENES))


async def _pictured(repo: Path, into: Path, names: list[str]) -> None:
    async with _imported(repo) as wiki, chromium() as browser:
        for screen in SCREENS:
            for scheme in SCHEMES:
                async with _seeing(browser, wiki.address, screen, scheme) as visitor:
                    for name in names:
                        await SCENES[name](visitor)
                        file = into / f"{name}-{screen}-{scheme}.png"
                        await visitor.page.screenshot(path=file)
                        typer.echo(file)


@asynccontextmanager
async def _seeing(
    browser: Browser, address: str, screen: str, scheme: str
) -> AsyncIterator[Visitor]:
    async with visiting(browser, address, color_scheme=scheme, **SCREENS[screen]) as visitor:
        await visitor.sign_in("Operator")
        yield visitor


@asynccontextmanager
async def _imported(repo: Path) -> AsyncIterator[Served]:
    """Serve a wiki that has the history of a repository."""
    async with Stack(only=SERVERS) as stack, served(stack.environment()) as wiki:
        pipeline = wiki.pipeline
        importer = await pipeline.do(lambda: GitImporter(pipeline.wiki, History(repo)))
        await pipeline.do(importer.run)
        for name in ("fts", "activity"):
            await pipeline.applied(ViewStore.of(view_named(name), pipeline.environment))
        yield wiki


if __name__ == "__main__":
    app()
