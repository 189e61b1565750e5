"""From an empty wiki to a page that two people have changed."""

from .browser import Browser, served, text_of


async def test_the_whole_story(environment: dict[str, str]) -> None:
    async with served(environment) as (pipeline, ann, bob):
        await pipeline.do(pipeline.wiki.create_page, "First", "first")
        await pipeline.settled()
        await a_page_is_made_and_its_writer_reads_it_at_once(ann)
        await it_is_found(ann)
        await of_two_who_edit_the_second_decides(ann, bob)
        await what_is_refused_is_said_beside_the_field_and_stays_typed(ann)
        await it_gets_another_slug(ann)
        await its_history_is_all_there(bob)


async def a_page_is_made_and_its_writer_reads_it_at_once(ann: Browser) -> None:
    form = await ann.submit("/new", title="Roses & more", slug="roses/red ones")
    assert "Edit roses/red ones" in text_of(form)
    page = await ann.submit("/edit/roses%2Fred%20ones", body="# A rose\r\n\r\nis **a** rose\r\n")
    assert page.request.url.raw_path == b"/wiki/roses%2Fred%20ones"
    assert "<h1>A rose</h1>" in page.text
    assert "<strong>a</strong>" in page.text
    assert "not here yet" not in page.text
    # Its title is text, not markup.
    assert "Roses &amp; more" in page.text


async def it_is_found(ann: Browser) -> None:
    found = await ann.get('/search?q="is a rose" -zebra')
    assert "<mark>rose</mark>" in found.text
    assert "/wiki/roses%2Fred%20ones" in found.text
    assert "No page matches" in (await ann.get("/search?q=rose -roses")).text
    part = await ann.get("/search?q=rose&part=1")
    assert "<mark>rose</mark>" in part.text
    assert "<html" not in part.text
    assert "roses" in (await ann.get("/pages?desc=1&limit=1")).text
    assert "First" in (await ann.get("/pages?lte=1")).text
    assert "Roses" not in (await ann.get("/pages?lte=1")).text


async def of_two_who_edit_the_second_decides(ann: Browser, bob: Browser) -> None:
    before = await bob.get("/edit/roses%2Fred%20ones")
    await ann.submit("/edit/roses%2Fred%20ones", body="Ann's\n")
    stale = {"token": _hidden(before.text, "token"), "version": _hidden(before.text, "version")}
    conflict = await bob.client.post("/edit/roses%2Fred%20ones", data={**stale, "body": "Bob's\n"})
    assert conflict.status_code == 409
    assert "Ann's" in text_of(conflict)
    assert "Bob's" in text_of(conflict)
    now = {"token": stale["token"], "version": _hidden(conflict.text, "version")}
    saved = await bob.client.post("/edit/roses%2Fred%20ones", data={**now, "body": "Bob's\n"})
    assert "Bob's" in text_of(await bob.follow(saved))


async def what_is_refused_is_said_beside_the_field_and_stays_typed(ann: Browser) -> None:
    taken = await ann.submit("/new", title="Typed with care", slug="first")
    assert taken.status_code == 422
    assert "another page has this slug" in taken.text
    assert 'value="Typed with care"' in taken.text
    huge = await ann.submit("/edit/first", body="y" * 400_001)
    assert huge.status_code == 422
    assert "more than 400,000" in huge.text
    assert "y" * 400_001 in huge.text


async def it_gets_another_slug(ann: Browser) -> None:
    page = await ann.submit("/names/roses%2Fred%20ones", title="Roses", slug="roses")
    assert page.request.url.path == "/wiki/roses"
    assert "<h1>Roses</h1>" in page.text
    assert (await ann.get("/wiki/roses%2Fred%20ones")).status_code == 404


async def its_history_is_all_there(bob: Browser) -> None:
    history = text_of(await bob.get("/history/roses"))
    places = [history.index(words) for words in ("SlugUpdated", "> Bob's", "> Ann's", "Created")]
    assert places == sorted(places)
    assert "<h1>A rose</h1>" in (await bob.get("/earlier/2/roses")).text
    assert (await bob.get("/earlier/99/roses")).status_code == 404
    assert "Made as" in text_of(await bob.get("/history/roses?before=1"))


def _hidden(html: str, name: str) -> str:
    return html.partition(f'name="{name}" value="')[2].partition('"')[0]
