"""Pictures of the wiki: its pages, on a desk and on a phone, in light and in dark.

    python -m tests.web.screenshots --repo . --into build/screenshots --readme

starts everything, imports the history of a git repository, and goes from page to page. Then pages
are edited for a while, so that the window on the pipeline has something to show.
"""

from __future__ import annotations

import random
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice, product
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import typer
from anyio import to_thread
from playwright.async_api import Browser

from eventsourcing_kafka.compose.stack.parts import SERVERS
from eventsourcing_kafka.compose.stack.stack import Stack
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.registry import view_named
from eventsourcing_kafka.producer.importer.git_import import GitImporter
from eventsourcing_kafka.producer.importer.history import History
from tests.benchmarks.history import SEED, Author, Edit
from tests.pipeline import ROOT, Pipeline

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
WIDE = {"width": 1200, "height": 1000}
COVER: dict[str, Any] = {"viewport": WIDE, "device_scale_factor": 1.5}
WEBP = {"format": "webp", "quality": 70, "clip": {"x": 0, "y": 0, **WIDE, "scale": 1.5}}
README = ROOT / "compose" / "web" / "window.webp"
HALVES = """
<style>
  body {{ margin: 0 }}
  img {{ position: absolute; width: 100vw; height: 100vh }}
  img + img {{ clip-path: polygon(58% 0, 100% 0, 100% 100%, 42% 100%) }}
</style>
<img src="data:image/png;base64,{light}"><img src="data:image/png;base64,{dark}">
"""
MOVING_SECONDS = 45.0
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


async def the_window(visitor: Visitor) -> None:
    await visitor.page.goto("/pipeline")
    await visitor.page.locator(".stage polyline").first.wait_for(state="attached")


async def parked(visitor: Visitor) -> None:
    await visitor.page.goto("/pipeline/views/fts/parked")


Scenes = Mapping[str, Callable[[Visitor], Awaitable[None]]]

WIKI: Scenes = {
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
PIPELINE: Scenes = {"window": the_window}
"""While it moves."""
FAILING: Scenes = {"parked": parked}

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def main(
    repo: Annotated[Path, typer.Option(help="A git repository.")] = ROOT,
    into: Annotated[Path, typer.Option(help="A folder.")] = ROOT / "build" / "screenshots",
    readme: Annotated[bool, typer.Option(help="Make the picture in the README, too.")] = False,
) -> None:
    """Start everything, import the history of a repository, and make the pictures."""
    into.mkdir(parents=True, exist_ok=True)
    anyio.run(_pictured, repo, into, README if readme else None)


async def _pictured(repo: Path, into: Path, readme: Path | None) -> None:
    async with (
        Stack(only=SERVERS) as stack,
        served(stack.environment()) as wiki,
        chromium() as browser,
        visiting(browser, wiki.address) as watcher,
        anyio.create_task_group() as tasks,
    ):
        # What was seen by nobody is not drawn: somebody watches from the beginning.
        await watcher.sign_in("Operator")
        await watcher.page.goto("/pipeline")
        await _imported(repo, wiki.pipeline)
        await _taken(browser, wiki, WIKI, into)
        tasks.start_soon(_edited, wiki.pipeline)
        await anyio.sleep(MOVING_SECONDS)
        await _taken(browser, wiki, PIPELINE, into)
        if readme:
            await _composed(browser, wiki, readme)
        tasks.cancel_scope.cancel()
        await _broken(wiki.pipeline)
        await _taken(browser, wiki, FAILING, into)


async def _imported(repo: Path, pipeline: Pipeline) -> None:
    importer = await pipeline.do(lambda: GitImporter(pipeline.wiki, History(repo)))
    await pipeline.do(importer.run)
    for name in ("fts", "activity"):
        await pipeline.applied(ViewStore.of(view_named(name), pipeline.environment))


async def _edited(pipeline: Pipeline) -> None:
    """Edit pages now and then, in bursts."""
    chance, author = random.Random(SEED), Author()
    known: set[str] = set()

    def edit(edits: Sequence[Edit]) -> None:
        for slug, body, _ in edits:
            if slug not in known:
                pipeline.wiki.create_page(slug.title(), slug)
                known.add(slug)
            pipeline.wiki.update_body(slug, body)

    edits = author.edits(largest=5000)
    while True:
        await to_thread.run_sync(edit, list(islice(edits, chance.randint(10, 300))))
        await anyio.sleep(chance.uniform(0.5, 5.0))


async def _broken(pipeline: Pipeline) -> None:
    """Have a change parked, as its page is not as it was when it was changed."""
    await pipeline.write("broken", "one\n")
    await pipeline.applied()
    async with pipeline.store.connected() as connection:
        await connection.execute(
            pipeline.store.sql("UPDATE {schema}.pages SET body = 'another' WHERE slug = 'broken'")
        )
    await pipeline.do(pipeline.wiki.update_body, "broken", "two\n")
    await pipeline.applied()


async def _taken(browser: Browser, wiki: Served, scenes: Scenes, into: Path) -> None:
    for screen, scheme in product(SCREENS, SCHEMES):
        async with _seeing(browser, wiki.address, scheme, **SCREENS[screen]) as visitor:
            for name, scene in scenes.items():
                await scene(visitor)
                file = into / f"{name}-{screen}-{scheme}.png"
                await visitor.page.screenshot(path=file)
                typer.echo(file)


async def _composed(browser: Browser, wiki: Served, file: Path) -> None:
    """Make one picture of the window, light on one side and dark on the other."""
    sides = {}
    for scheme in SCHEMES:
        async with _seeing(browser, wiki.address, scheme, **COVER) as visitor:
            await the_window(visitor)
            sides[scheme] = b64encode(await visitor.page.screenshot()).decode()
    async with visiting(browser, wiki.address, **COVER) as visitor:
        await visitor.page.set_content(HALVES.format(**sides))
        await visitor.page.locator("img").last.wait_for()
        chrome = await visitor.page.context.new_cdp_session(visitor.page)
        picture = await chrome.send("Page.captureScreenshot", WEBP)
    await anyio.Path(file).write_bytes(b64decode(picture["data"]))
    typer.echo(file)


@asynccontextmanager
async def _seeing(
    browser: Browser, address: str, scheme: str, **screen: Any
) -> AsyncIterator[Visitor]:
    async with visiting(browser, address, color_scheme=scheme, **screen) as visitor:
        await visitor.sign_in("Operator")
        yield visitor


if __name__ == "__main__":
    app()
