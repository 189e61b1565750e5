"""What a browser must not be made to do, and must not be told."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlencode
from uuid import UUID

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsourcing_kafka.compose.web.markdown import render_markdown
from eventsourcing_kafka.compose.web.rendering import UNSEEN, harmless
from eventsourcing_kafka.compose.web.safety import HEADERS
from eventsourcing_kafka.compose.web.wiki.rendering import (
    LONG_BODY,
    body_as_html,
    diff_lines,
    marked,
    path_of,
)
from eventsourcing_kafka.producer.contentmanagement.people import People

from .browser import Browser, served, text_of

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[x](javascript:alert(1))",
    "![x](data:text/html;base64,PHNjcmlwdD4=)",
    "<a href='java\tscript:alert(1)'>x</a>",
    "{{ 7 * 7 }}{% raw %}",
    "</textarea><script>alert(1)</script>",
    "\u202egnp.exe \ue000<b>\ue001",
    "&lt;script&gt;",
    "[x]: javascript:alert(1)\n\n[x] [y](//[z) ![](x) [![](vbscript:x)](data:,y)",
    "# x\u2066\u2028y\x1b[31m\u0085\u200b",
]
OURS = {"/static/search.js", "/static/style.css", "/static/icon.svg"}
LOCAL = ("/", "#", "?")


class Acting(HTMLParser):
    """Finds what a browser would run, fetch, or go to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            leads = name in {"href", "src", "action", "formaction"} and value not in OURS
            if name.startswith("on") or (leads and not (value or "").startswith(LOCAL)):
                self.found.append(f"{tag} {name}={value}")
        if tag in {"iframe", "object", "embed", "b", "base", "img", "style"} or (
            tag == "script" and dict(attrs).get("src") not in OURS
        ):
            self.found.append(tag)


@pytest.mark.parametrize("body", HOSTILE)
def test_what_is_rendered_does_not_act(body: str) -> None:
    assert Acting(render_markdown(body)).found == []


def test_markdown_is_rendered() -> None:
    html = render_markdown("[a](https://example.org) *b* | c\n\n|d|\n|-|\n|e|\n")
    assert Acting(html).found == ["a href=https://example.org"]
    assert 'rel="nofollow noopener"' in html
    assert "<em>b</em>" in html
    assert "<td>e</td>" in html


def test_a_picture_is_a_link_to_it_and_links_are_beside_the_page() -> None:
    html = render_markdown(
        "![A <rose>](https://example.org/a.png) [![badge](b.png)](../c.md) [d](#e)",
        path_of("docs/in/page.md"),
    )
    links = re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', html)
    assert links == [
        ("https://example.org/a.png", "A &lt;rose&gt;"),
        ("/wiki/docs/c.md", "badge"),
        ("/wiki/docs/in/page.md#e", "d"),
    ]


async def test_a_long_text_and_source_are_laid_out_as_harmlessly() -> None:
    hostile = "\n\n".join(HOSTILE)
    long = await body_as_html("x" * LONG_BODY + hostile, "x.md")
    source = await body_as_html(hostile, "x.py")
    assert Acting(long).found == Acting(source).found == []
    assert "<h2>" in long
    assert "<h2>" not in source
    assert not UNSEEN.search(source)


def test_headings_are_below_the_page_s_own() -> None:
    html = render_markdown("# a\n\n## b\n\nc\n===\n\n###### d\n")
    assert re.findall(r"<(h\d)>", html) == ["h2", "h3", "h2", "h6"]
    assert re.findall(r"</(h\d)>", html) == ["h2", "h3", "h2", "h6"]


@given(st.text())
def test_what_is_shown_looks_like_nothing_else(text: str) -> None:
    assert not UNSEEN.search(harmless(text))
    assert len(harmless(text)) == len(text)


@given(st.text(alphabet="./a%?#\\ é\n", min_size=1))
def test_a_path_has_no_steps_that_a_browser_would_take(slug: str) -> None:
    url = httpx2.URL("http://wiki/").join(path_of(slug, before=1))
    shown = unquote(url.path.removeprefix("/wiki/")) or url.params["slug"]
    assert unquote(url.raw_path.decode().partition("?")[0].removeprefix("/wiki/")) in (slug, "")
    assert shown in (slug, unquote(slug))


def test_a_diff_tells_its_lines_with_signs() -> None:
    changed = "1,2c1\n< a\n< < b\n---\n> c\u202e\n"
    added = "5a4,5\n> 1c1\n> ---\n\\ No newline at end of file\n"
    assert list(diff_lines(f"{changed}{added}9d7\n< \n")) == [
        ("place", "line 1"),
        ("removed", "- a"),
        ("removed", "- < b"),
        ("added", "+ c\ufffd"),
        ("place", "lines 4 to 5"),
        ("added", "+ 1c1"),
        ("added", "+ ---"),
        ("place", "without a newline at the end"),
        ("place", "after line 7"),
        ("removed", "- "),
    ]
    assert list(diff_lines("")) == []


@given(st.text())
def test_marking_leaves_nothing_but_marks(text: str) -> None:
    html = str(marked(text)).replace("<mark>", "").replace("</mark>", "")
    assert "<" not in html
    assert '"' not in html


async def test_hostile_words_stay_words(environment: dict[str, str]) -> None:
    async with served(environment) as (pipeline, ann, bob):
        for number, words in enumerate(HOSTILE):
            if words.isprintable():
                await ann.sign_in(words)
            await hostile_page(ann, f"{number} {words}", words)
            found = await bob.get(f"/search?{urlencode({'q': words})}")
            assert found.status_code == 200
            assert_harmless(found.text)
        people = re.findall(r"/contributors/[-0-9a-f]+", (await bob.get("/contributors")).text)
        assert len(people) > 5
        # A history that is imported may have any name.
        named = {UUID(people[-1].rpartition("/")[2]): "\u202e<b>eve</b>\x1b"}
        await pipeline.do(People(pipeline.wiki).remember, named)
        for path in ("/", "/pages", "/contributors", *people):
            page = await bob.get(path)
            assert page.status_code == 200
            assert_harmless(page.text)
            assert not UNSEEN.search(page.text)
        await ann.sign_in("Ann")
        await forms_of_other_sites_do_nothing(ann)
        await errors_tell_nothing(bob)


async def hostile_page(ann: Browser, slug: str, words: str) -> None:
    made = await ann.submit("/new", title=words, slug=slug)
    assert made.status_code == 200
    path = made.request.url.raw_path.decode()
    page = await ann.submit(path, body=words)
    assert page.status_code == 200
    paths = [path.replace("/edit/", f"/{what}/") for what in ("history", "names", "change/2")]
    for answer in (page, made, *[await ann.get(path) for path in paths]):
        assert answer.status_code == 200
        assert_harmless(answer.text)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value


def assert_harmless(html: str) -> None:
    assert Acting(html).found == []


async def forms_of_other_sites_do_nothing(ann: Browser) -> None:
    for token in ("", "guessed", "ü"):
        fields = {"token": token, "title": "Forged", "slug": "forged"}
        answer = await ann.client.post("/new", data=fields)
        assert answer.status_code == 403
    assert (await ann.get("/wiki/forged")).status_code == 404
    ann.client.cookies.clear()
    (cookie,) = (await ann.get("/sign-in")).headers.get_list("set-cookie")
    assert "httponly; samesite=lax" in cookie


async def errors_tell_nothing(bob: Browser) -> None:
    for path in (
        "/wiki/there%00is%20none",
        "/wiki/%ff",
        "/pages?gt=x",
        "/pages?limit=99999999999999999999",
        "/history/none?before=-1",
        "/search?q=%00",
        "/search?q=a&page=0",
        "/search?q=a&page=" + "9" * 5000,
        "/wiki/?slug=%00",
        "/contributors/none",
        "/change/x/none",
        f"/earlier/{'9' * 5000}/none",
        "/earlier/1/none",
        "/nothing",
        "/static/../app.py",
    ):
        answer = await bob.get(path)
        assert answer.status_code in {200, 400, 404}, path
        assert "Traceback" not in answer.text
    refused = await bob.client.post("/new", data={"body": "x" * 2_000_000})
    assert refused.status_code == 413
    assert "More than" in text_of(refused)
