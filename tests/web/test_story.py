"""From an empty wiki to pages that several people have changed."""

import re
from html import unescape
from typing import LiteralString
from uuid import UUID

from httpx2 import Response

from tests.pipeline import Pipeline

from .browser import Browser, served, text_of

PARK: LiteralString = """
    INSERT INTO {schema}.parked (
           application, topic, partition, record_offset, originator_id, headers, reason,
           traceback, position)
    VALUES ('', '', 0, 0, %s, '', '', '', 7)
"""

ROSES = "/edit/roses/red%20ones"


async def test_the_whole_story(environment: dict[str, str]) -> None:
    async with served(environment) as (pipeline, ann, bob):
        assert "Nothing has been written yet" in (await ann.get("/")).text
        await pipeline.do(pipeline.wiki.create_page, "First", "first")
        await pipeline.settled()
        await a_page_is_made_and_its_writer_reads_it_at_once(ann)
        await it_is_found(ann)
        await all_pages_are_listed_with_ways_back_and_on(ann)
        await of_two_who_edit_the_second_decides(ann, bob)
        await what_is_refused_is_said_beside_the_field_and_stays_typed(ann)
        await it_gets_another_slug(ann)
        await what_could_not_be_applied_is_marked(pipeline, bob)
        await who_edits_while_a_page_is_renamed_saves_the_same_page(ann, bob)
        await a_title_is_not_changed_over_another_change_of_it(ann, bob)
        await its_history_is_all_there(bob)
        await a_large_change_is_told_in_short_and_shown_whole(ann)
        await no_slug_is_out_of_reach(ann)
        await people_are_called_by_their_names_as_long_as_they_want(ann, bob)
        await nothing_typed_is_lost_with_the_session(ann)


async def a_page_is_made_and_its_writer_reads_it_at_once(ann: Browser) -> None:
    form = await ann.submit("/new", title="Roses & more", slug="roses/red ones")
    assert "Edit roses/red ones" in text_of(form)
    preview = await ann.submit(ROSES, body="is **seen** before", preview="1")
    assert "<strong>seen</strong>" in preview.text
    assert "This page has no text yet" in (await ann.get("/wiki/roses/red%20ones")).text
    page = await ann.submit(ROSES, body="# A rose\r\n\r\nis **a** rose\r\n")
    assert page.request.url.raw_path == b"/wiki/roses/red%20ones"
    # A heading of the text is below the page's own.
    assert "<h2>A rose</h2>" in page.text
    assert page.text.count("<h1>") == 1
    assert "<strong>a</strong>" in page.text
    assert "not here yet" not in page.text
    # Its title is text, not markup.
    assert "Roses &amp; more" in page.text
    assert re.search(r"changed <time [^>]+>just now</time> by", page.text)
    assert (await ann.get("/wiki/roses%2Fred%20ones")).status_code == 200
    named = await ann.submit("/new", title="Named after its Title", slug="")
    assert named.request.url.path == "/edit/named-after-its-title"


async def it_is_found(ann: Browser) -> None:
    found = await ann.get('/search?q="is a rose" -zebra')
    assert "<mark>rose</mark>" in found.text
    assert "/wiki/roses/red%20ones" in found.text
    assert "One page matches" in found.text
    assert "No page matches" in (await ann.get("/search?q=rose -roses")).text
    part = await ann.get("/search?q=rose&part=1")
    assert "<mark>rose</mark>" in part.text
    assert "<html" not in part.text


async def all_pages_are_listed_with_ways_back_and_on(ann: Browser) -> None:
    assert "Roses" not in (await ann.get("/pages?lte=1")).text
    for order, titles in (("", ["First", "Roses", "Named"]), ("desc=1", ["Named", "Roses"])):
        page = await ann.get(f"/pages?limit=1&{order}")
        assert 'rel="prev"' not in page.text
        for title in titles:
            assert title in text_of(page)
            page, last = await ann.get(_link(page, "next") or "/"), page
            assert _link(page, "prev") is None or text_of(
                await ann.get(_link(page, "prev") or "")
            ) == text_of(last)
    assert "There is none here" in (await ann.get("/pages?gt=3")).text
    assert _link(await ann.get("/pages?lte=2&limit=2"), "next") is None
    assert _link(await ann.get("/pages?gt=1&desc=1&limit=2"), "next") is None


async def of_two_who_edit_the_second_decides(ann: Browser, bob: Browser) -> None:
    before = _hidden(await bob.get(ROSES))
    await ann.submit(ROSES, body="Ann's\n")
    conflict = await bob.client.post(ROSES, data={**before, "body": "Bob's\n"})
    assert conflict.status_code == 409
    assert "Somebody else has changed this page" in text_of(conflict)
    for text in ("Ann's", "Bob's"):
        assert f">\n{text}\n</textarea>" in unescape(conflict.text)
    now = _hidden(conflict)
    saved = await bob.client.post(ROSES, data={**now, "body": "Bob's\n"})
    assert "Bob's" in text_of(await bob.follow(saved))
    # Sent twice it is no conflict.
    again = await bob.client.post(ROSES, data={**now, "body": "Bob's\r\n"})
    assert again.is_redirect


async def what_is_refused_is_said_beside_the_field_and_stays_typed(ann: Browser) -> None:
    taken = await ann.submit("/new", title="Typed with care", slug="first")
    assert taken.status_code == 422
    assert "another page has this slug" in taken.text
    assert 'value="Typed with care"' in taken.text
    huge = await ann.submit("/edit/first", body="y" * 400_001)
    assert huge.status_code == 422
    assert "more than 400,000" in huge.text
    assert "y" * 400_001 in huge.text
    renamed = await ann.submit("/names/first", title="", slug="second")
    assert renamed.status_code == 422
    assert "the title is empty" in renamed.text
    assert (await ann.get("/wiki/second")).status_code == 404


async def it_gets_another_slug(ann: Browser) -> None:
    page = await ann.submit("/names/roses%2Fred%20ones", title="Roses", slug="roses")
    assert page.request.url.path == "/wiki/roses"
    assert "<h1><bdi>Roses</bdi></h1>" in page.text
    gone = await ann.get("/wiki/roses%2Fred%20ones")
    assert gone.status_code == 404
    assert "/new?slug=roses%2Fred+ones" in gone.text


async def what_could_not_be_applied_is_marked(pipeline: Pipeline, bob: Browser) -> None:
    for path in ("/wiki/roses", "/search?q=roses"):
        assert 'class="stale"' not in (await bob.get(path)).text
    async with pipeline.store.connected() as connection:
        await connection.execute(
            pipeline.store.sql(PARK), [str(await pipeline.do(pipeline.wiki.get_page_id, "roses"))]
        )
        for path in ("/wiki/roses", "/search?q=roses"):
            assert 'class="stale"' in (await bob.get(path)).text
        await connection.execute(pipeline.store.sql("DELETE FROM {schema}.parked"))


async def who_edits_while_a_page_is_renamed_saves_the_same_page(ann: Browser, bob: Browser) -> None:
    before = _hidden(await bob.get("/edit/first"))
    await ann.submit("/names/first", title="First", slug="the first")
    await ann.submit("/new", title="Another", slug="first")
    moved = await bob.client.post("/edit/first", data={**before, "body": "typed meanwhile"})
    assert moved.status_code == 409
    assert "typed meanwhile" in moved.text
    assert 'action="/edit/the%20first"' in moved.text
    data = {**_hidden(moved), "version": "2", "body": "typed meanwhile"}
    saved = await bob.follow(await bob.client.post("/edit/the%20first", data=data))
    assert "typed meanwhile" in saved.text
    assert "typed meanwhile" not in (await bob.get("/wiki/first")).text


async def a_title_is_not_changed_over_another_change_of_it(ann: Browser, bob: Browser) -> None:
    before = _hidden(await bob.get("/names/first"))
    await ann.submit("/names/first", title="Ann's title", slug="first")
    title = {"title": "Bob's title", "slug": "first"}
    conflict = await bob.client.post("/names/first", data={**before, **title})
    assert conflict.status_code == 409
    assert "somebody has called it “Ann's title”" in text_of(conflict)
    assert 'value="Bob&#39;s title"' in conflict.text
    saved = await bob.client.post("/names/first", data={**_hidden(conflict), **title})
    assert "Bob's title" in text_of(await bob.follow(saved))


async def its_history_is_all_there(bob: Browser) -> None:
    history = text_of(await bob.get("/history/roses"))
    words = ("changed the slug", "- Ann's", "+ Bob's", "+ Ann's", "+ # A rose", "made the page")
    places = [history.index(word) for word in words]
    assert places == sorted(places)
    assert "Bob changed the text" in history
    assert "<h2>A rose</h2>" in (await bob.get("/earlier/2/roses")).text
    for path in ("/earlier/99/roses", "/change/99/roses", f"/earlier/{10**18 - 1}/roses"):
        assert (await bob.get(path)).status_code == 404
    first = text_of(await bob.get("/history/roses?before=1"))
    assert "Made as" in first
    assert "changed the slug" not in first


async def a_large_change_is_told_in_short_and_shown_whole(ann: Browser) -> None:
    await ann.submit("/edit/first", body="".join(f"line {n}\n" for n in range(1000)))
    history = await ann.get("/history/first")
    assert "line 999" not in history.text
    assert "All 1,001 lines of this change" in history.text
    (path,) = re.findall(r'href="(/change/\d+/first)"', history.text)
    assert "line 999" in (await ann.get(path)).text


async def no_slug_is_out_of_reach(ann: Browser) -> None:
    for slug in ("..", "up/../down", "a//b", "ends/", "%2e%2e", "?q#f", "\\"):
        page = await ann.submit("/new", title=f"At {slug}", slug=slug)
        edit = page.request.url.raw_path.decode()
        assert "/../" not in edit
        assert not edit.endswith("..") or "?" in edit
        saved = await ann.submit(edit, body=f"is at {slug}")
        assert f"is at {slug}" in text_of(saved)
        listed = await ann.get("/pages?desc=1&limit=1")
        assert saved.request.url.raw_path.decode() in listed.text.replace("&amp;", "&")
        for what in ("history", "names"):
            path = edit.replace("/edit/", f"/{what}/", 1)
            assert (await ann.get(path)).status_code == 200, path


async def people_are_called_by_their_names_as_long_as_they_want(ann: Browser, bob: Browser) -> None:
    listed = await bob.get("/contributors")
    for name in ("Ann", "Bob", "somebody unknown"):
        assert name in text_of(listed)
    (anns,) = re.findall(r'href="(/contributors/[^"]+)"><bdi>Ann<', listed.text)
    assert "Ann" in text_of(await bob.get("/"))
    page = await bob.get(anns)
    assert "made the page, changed the text" in text_of(page)
    assert "Delete" not in page.text
    assert (await bob.client.post(anns, data=_hidden(await bob.get("/new")))).status_code == 403
    assert "Sign in" in (await ann.submit(anns)).text
    assert "<bdi>Ann</bdi>" not in (await bob.get("/history/first")).text
    assert UUID(anns.rpartition("/")[2]).hex[:8] in text_of(await bob.get("/contributors"))
    assert (await bob.get(f"/contributors/{UUID(int=1)}")).status_code == 404
    await ann.sign_in("Ann")


async def nothing_typed_is_lost_with_the_session(ann: Browser) -> None:
    fields = {
        "/new": {"title": "Typed", "slug": "with care"},
        "/edit/first": {"body": "Typed\nwith care"},
        "/names/first": {"title": "Typed", "slug": "with care"},
    }
    forms = {path: _hidden(await ann.get(path)) for path in fields}
    ann.client.cookies.clear()
    for path, typed in fields.items():
        _shown_again(await ann.client.post(path, data={**forms[path], **typed}), "not signed in")
    await ann.sign_in("Ann")
    for path, typed in fields.items():
        answer = await ann.client.post(path, data={**forms[path], **typed})
        _shown_again(answer, "older than your session")
        if path == "/edit/first":
            saved = await ann.client.post(path, data={**_hidden(answer), **typed})
            assert "with care" in text_of(await ann.follow(saved))


def _shown_again(answer: Response, words: str) -> None:
    assert answer.status_code == 403
    assert words in answer.text
    assert "Typed" in answer.text
    assert "with care" in answer.text


def _hidden(answer: Response) -> dict[str, str]:
    found = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.text)
    return {name: unescape(value) for name, value in found}


def _link(answer: Response, rel: str) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', answer.text)
    return found[1].replace("&amp;", "&") if found else None
