"""What people do and see, in a real browser. All stories share one wiki."""

from collections.abc import AsyncIterator, Iterator
from typing import LiteralString

import pytest
import pytest_asyncio
from anyio import to_thread
from anyio.from_thread import BlockingPortal
from playwright.async_api import Browser, expect

from tests.pipeline import write_page

from .chromium import (
    PATIENCE_MS,
    NoBrowserError,
    Served,
    Visitor,
    address_of,
    chromium,
    proxied,
    served,
    visiting,
)
from .judging import faults, fill_in, go
from .test_safety import HOSTILE

pytestmark = pytest.mark.asyncio(loop_scope="module")
expect.set_options(timeout=PATIENCE_MS)

TITLE = "<script>alert(1)</script> " + "Donaudampfschifffahrtsgesellschaft" * 4
WIDE = f"""\
# {"unbreakable" * 20}

{"verylongword" * 40} <https://example.org/{"path/" * 60}>

| {" | ".join(["a column of a table"] * 12)} |
|{"---|" * 12}
| {" | ".join(["cell" * 10] * 12)} |

```
{"code that goes on and on, " * 20}
```

> {"quoted" * 50}
"""
BODIES = (WIDE, "\n\n".join([WIDE, *HOSTILE]))
ABOUT_A_PAGE = ("wiki", "edit", "names", "history", "earlier/2", "change/3")
CONNECTION_LOST = "net::ERR_"
"""What a browser may complain of whose server is gone."""
GONE_SECONDS = 7.0
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def wiki(portal: BlockingPortal, shared_environment: dict[str, str]) -> Iterator[Served]:
    """A wiki that is served; in the portal's thread, where browsers do not hold it up."""
    with portal.wrap_async_context_manager(served(shared_environment)) as wiki:
        yield wiki


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(programs: None) -> AsyncIterator[Browser]:
    """One browser for all visitors."""
    try:
        async with chromium() as browser:
            yield browser
    except NoBrowserError as error:
        pytest.skip(str(error))


async def test_the_whole_story_from_an_empty_wiki(browser: Browser, wiki: Served) -> None:
    async with (
        visiting(browser, wiki.address) as ann,
        visiting(browser, wiki.address, java_script_enabled=False) as bob,
    ):
        await the_first_page_is_written(ann)
        await it_is_found_while_somebody_types(ann)
        await bob.sign_in("Bob")
        await it_is_found_without_javascript(bob)
        await of_two_editors_the_second_sees_both_texts_and_decides(ann, bob)
        await it_gets_another_title_and_another_slug(ann)
        await its_history_shows_each_change_and_any_earlier_version(bob)


async def test_a_keyboard_is_enough(browser: Browser, wiki: Served) -> None:
    async with visiting(browser, wiki.address) as cleo:
        page = cleo.page
        await page.goto("/")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
        await go(page, page.get_by_role("link", name="Sign in", exact=True))
        await fill_in(page, page.get_by_label("Name"), "Cleo")
        await page.keyboard.press("Enter")
        await go(page, page.get_by_role("link", name="New page"))
        await fill_in(page, page.get_by_label("Title"), "By keyboard")
        await fill_in(page, page.get_by_label("Slug"), "keyboard")
        await go(page, page.get_by_role("button", name="Make the page"))
        await fill_in(page, page.get_by_label("in Markdown"), "tabulators everywhere")
        await go(page, page.get_by_role("button", name="Save"))
        await expect(page.get_by_role("article")).to_contain_text("tabulators everywhere")
        await fill_in(page, page.get_by_role("searchbox"), "tabulators")
        await page.keyboard.press("Enter")
        await go(page, page.get_by_role("link", name="By keyboard"))
        await expect(page.get_by_role("article")).to_contain_text("tabulators everywhere")


async def test_an_operator_sees_the_stream_move_and_mends_what_is_parked(
    browser: Browser, wiki: Served
) -> None:
    async with visiting(browser, wiki.address) as olga:
        await olga.sign_in("Operator")
        await the_stream_moves(olga, wiki)
        await a_change_that_does_not_fit_is_parked(olga, wiki, "one\nthree\n")
        await a_retry_in_vain_says_why(olga)
        await what_is_mended_is_retried(olga, wiki)
        await a_change_that_does_not_fit_is_parked(olga, wiki, "one\nfour\n")
        await it_is_dropped_with_a_reason(olga)
        await all_is_replayed(olga, wiki)


async def the_stream_moves(olga: Visitor, wiki: Served) -> None:
    page = olga.page
    await page.goto("/pipeline")
    await expect(page.get_by_text("All is well")).to_be_visible()
    await to_thread.run_sync(write_page, wiki.pipeline.wiki, "thorny", "one\ntwo\n")
    head = await to_thread.run_sync(wiki.pipeline.wiki.recorder.max_notification_id)
    outbox = page.locator(".stage", has_text="Outbox")
    await expect(outbox.locator("dd").first).to_have_text(f"{head:,}")
    await expect(page.get_by_text("All is well")).to_be_visible()


async def a_change_that_does_not_fit_is_parked(olga: Visitor, wiki: Served, body: str) -> None:
    page = olga.page
    await in_the_view(wiki, "UPDATE {schema}.pages SET body = 'lost' WHERE slug = 'thorny'")
    await page.goto("/pipeline")
    # What it shows at first may be a moment old, from before the last one was retried.
    await expect(page.get_by_role("link", name="Parked (1)")).to_be_hidden()
    await to_thread.run_sync(wiki.pipeline.wiki.update_body, "thorny", body)
    await page.get_by_role("link", name="Parked (1)").click()
    await expect(page.get_by_role("main")).to_contain_text("Page.BodyUpdated")
    await olga.page.goto("/wiki/thorny")
    await expect(olga.page.get_by_role("main")).to_contain_text("stale")


async def a_retry_in_vain_says_why(olga: Visitor) -> None:
    page = olga.page
    await page.goto("/pipeline/views/fts/parked")
    await page.get_by_role("link", name="Retry").click()
    button = page.get_by_role("button", name="Retry")
    await expect(button).to_be_visible()
    assert await faults(page) == []
    await button.click()
    await expect(page.get_by_role("alert")).to_be_visible()


async def what_is_mended_is_retried(olga: Visitor, wiki: Served) -> None:
    page = olga.page
    await in_the_view(
        wiki, "UPDATE {schema}.pages SET body = E'one\\ntwo\\n' WHERE slug = 'thorny'"
    )
    await page.goto("/pipeline/views/fts/parked")
    await page.get_by_role("link", name="Retry").click()
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_text("Nothing is parked")).to_be_visible()
    await page.goto("/wiki/thorny")
    await expect(page.get_by_role("article")).to_contain_text("three")
    await expect(page.get_by_role("main")).not_to_contain_text("stale")


async def it_is_dropped_with_a_reason(olga: Visitor) -> None:
    page = olga.page
    await page.goto("/pipeline/views/fts/parked")
    await page.get_by_role("link", name="Drop").click()
    await page.get_by_label("Why?").fill("it was a test")
    assert await faults(page) == []
    await page.get_by_role("button", name="Drop").click()
    await expect(page.get_by_text("Nothing is parked")).to_be_visible()
    await expect(page.get_by_role("main")).to_contain_text("it was a test")
    assert await faults(page) == []


async def all_is_replayed(olga: Visitor, wiki: Served) -> None:
    page = olga.page
    await page.goto("/pipeline")
    await expect(page.get_by_role("link", name="Parked (1)")).to_be_hidden()
    view = page.get_by_role("article", name="fts")
    await view.get_by_role("link", name="Replay").click()
    await page.get_by_role("button", name="Replay").click()
    await expect(page).to_have_url("/pipeline")
    await wiki.pipeline.applied()
    await expect(page.get_by_text("All is well")).to_be_visible()
    await page.goto("/wiki/thorny")
    await expect(page.get_by_role("article")).to_contain_text("one")


async def in_the_view(wiki: Served, statement: LiteralString) -> None:
    """Change the view behind everybody's back."""
    store = wiki.pipeline.store
    async with store.connected() as connection:
        await connection.execute(store.sql(statement))


async def test_a_live_page_says_so_when_its_server_is_gone_or_frozen(
    browser: Browser, wiki: Served, portal: BlockingPortal
) -> None:
    with (
        portal.wrap_async_context_manager(proxied(wiki.port)) as cut,
        portal.wrap_async_context_manager(proxied(wiki.port)) as frozen,
    ):
        async with (
            visiting(browser, address_of(cut.port), expected=CONNECTION_LOST) as one,
            visiting(browser, address_of(frozen.port)) as other,
        ):
            for visitor in (one, other):
                await visitor.sign_in("Operator")
                await visitor.page.goto("/pipeline")
                await expect(visitor.page.get_by_text("As of")).to_be_visible()
                await expect(visitor.page.get_by_text("Not live since")).to_be_hidden()
            portal.call(cut.cut, GONE_SECONDS)
            with portal.wrap_async_context_manager(frozen.silence(answers_only=False)):
                for visitor in (one, other):
                    await expect(visitor.page.get_by_text("Not live since")).to_be_visible()
            for visitor in (one, other):
                await expect(visitor.page.get_by_text("Not live since")).to_be_hidden()


async def test_a_link_is_followed_though_the_page_is_drawn_anew_while_it_is_pressed(
    browser: Browser, wiki: Served
) -> None:
    async with visiting(browser, wiki.address) as olga:
        await olga.sign_in("Operator")
        page = olga.page
        await page.goto("/pipeline")
        link = page.get_by_role("article", name="fts").get_by_role("link", name="Replay")
        await page.evaluate("source.close()")
        await link.hover()
        await page.mouse.down()
        await page.evaluate("source.onmessage({ data: '<p>drawn anew</p>' })")
        await page.mouse.up()
        await page.wait_for_url("**/views/fts/replay")


async def test_every_page_is_harmless_fits_a_phone_and_is_open_to_all(
    browser: Browser, wiki: Served
) -> None:
    found: dict[str, object] = {}
    async with visiting(browser, wiki.address, viewport=PHONE) as dora:
        await dora.sign_in("Operator")
        await dora.write("hostile/" + "long-slug" * 10, TITLE, *BODIES)
        slug = dora.page.url.partition("/wiki/")[2]
        for path in every_page(slug):
            await dora.page.goto(path)
            found[path] = await faults(dora.page)
        await a_conflict(dora, slug)
        found["a conflict"] = await faults(dora.page)
    assert {path: said for path, said in found.items() if said} == {}


def every_page(slug: str) -> list[str]:
    """Return the addresses of all that the wiki shows, about one page where it is about one."""
    about = [f"/{what}/{slug}" for what in ABOUT_A_PAGE]
    other = ["/", "/pages", "/contributors", "/new", "/sign-in", "/token", "/api", "/nothing"]
    view = [f"/pipeline/views/fts/{what}" for what in ("parked", "replay", "rebuild", "swap-back")]
    searches = ["/search", "/search?q=unbreakable%20OR%20alert"]
    return [*about, *other, *searches, "/pipeline", "/pipeline/audit", *view]


async def a_conflict(visitor: Visitor, slug: str) -> None:
    page = visitor.page
    await page.goto(f"/edit/{slug}")
    await page.locator("[name=version]").evaluate("(hidden) => { hidden.value = 1; }")
    await page.get_by_label("in Markdown").fill("\n\n".join(HOSTILE))
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("alert").wait_for()


async def the_first_page_is_written(ann: Visitor) -> None:
    page = ann.page
    await page.goto("/")
    await expect(page.get_by_role("link", name="to write the first page")).to_be_visible()
    await ann.sign_in("Ann")
    await page.get_by_role("link", name="Write the first page").click()
    await ann.write("roses/red", "Roses & more", "# A rose\n\nis **a** rose\n")
    await expect(page.get_by_role("heading", name="Roses & more")).to_be_visible()
    await expect(page.get_by_role("heading", name="A rose")).to_be_visible()


async def it_is_found_while_somebody_types(ann: Visitor) -> None:
    page = ann.page
    await page.goto("/search")
    await page.get_by_role("searchbox").press_sequentially("rose")
    await expect(page.locator("#results mark").first).to_have_text("Roses")
    await expect(page).to_have_url("/search?q=rose")
    await page.get_by_role("searchbox").press_sequentially(" -rose")
    await expect(page.locator("#results")).to_contain_text("No page matches")


async def it_is_found_without_javascript(bob: Visitor) -> None:
    page = bob.page
    await page.goto("/")
    await page.get_by_role("searchbox").fill('"is a rose"')
    await page.get_by_role("searchbox").press("Enter")
    await page.get_by_role("link", name="Roses & more").click()
    await expect(page.get_by_role("heading", name="A rose")).to_be_visible()


async def of_two_editors_the_second_sees_both_texts_and_decides(ann: Visitor, bob: Visitor) -> None:
    for visitor in (ann, bob):
        await visitor.page.goto("/edit/roses%2Fred")
        await visitor.page.get_by_label("in Markdown").fill("the text of nobody")
    await ann.page.get_by_label("in Markdown").fill("# A rose\n\nis Ann's\n")
    await ann.page.get_by_role("button", name="Save").click()
    await expect(ann.page.get_by_role("article")).to_contain_text("is Ann's")

    page = bob.page
    await page.get_by_label("in Markdown").fill("# A rose\n\nis Bob's\n")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("Somebody else has changed this page")
    await expect(page.get_by_label("Their text")).to_have_value("# A rose\n\nis Ann's\n")
    await expect(page.get_by_label("in Markdown")).to_have_value("# A rose\n\nis Bob's\n")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("article")).to_contain_text("is Bob's")


async def it_gets_another_title_and_another_slug(ann: Visitor) -> None:
    page = ann.page
    await page.goto("/wiki/roses%2Fred")
    await page.get_by_role("link", name="Title and slug").click()
    await page.get_by_label("Title").fill("Roses")
    await page.get_by_label("Slug").fill("roses")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="Roses", exact=True)).to_be_visible()
    await expect(page).to_have_url("/wiki/roses")
    missing = await page.goto("/wiki/roses%2Fred")
    assert missing
    assert missing.status == 404


async def its_history_shows_each_change_and_any_earlier_version(bob: Visitor) -> None:
    page = bob.page
    await page.goto("/wiki/roses")
    await page.get_by_role("link", name="History").click()
    await expect(page.locator(".added", has_text="is Bob's")).to_be_visible()
    await expect(page.locator(".removed", has_text="is Ann's")).to_be_visible()
    await page.locator("a[href^='/earlier/2/']").click()
    await expect(page.get_by_role("article")).to_contain_text("is a rose")
