"""What a browser must not be made to do, and must not be told."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.web.safety import HEADERS
from compose.web.showing import marked, rendered

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
]
OURS = {"/static/search.js"}
LOCAL = ("/", "#", "?")


class Acting(HTMLParser):
    """Finds what a browser would run, fetch, or go to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            leads = name in {"href", "src", "action"} and value not in OURS
            if name.startswith("on") or (leads and not (value or "").startswith(LOCAL)):
                self.found.append(f"{tag} {name}={value}")
        if tag in {"iframe", "object", "embed", "b", "base"} or (
            tag == "script" and dict(attrs).get("src") not in OURS
        ):
            self.found.append(tag)


@pytest.mark.parametrize("body", HOSTILE)
def test_what_is_rendered_does_not_act(body: str) -> None:
    assert Acting(rendered(body)).found == []


def test_markdown_is_rendered() -> None:
    html = rendered("[a](https://example.org) *b* | c\n\n|d|\n|-|\n|e|\n")
    assert Acting(html).found == ["a href=https://example.org"]
    assert "<em>b</em>" in html
    assert "<td>e</td>" in html


@given(st.text())
def test_marking_leaves_nothing_but_marks(text: str) -> None:
    html = str(marked(text)).replace("<mark>", "").replace("</mark>", "")
    assert "<" not in html
    assert '"' not in html


async def test_hostile_words_stay_words(environment: dict[str, str]) -> None:
    async with served(environment) as (_, ann, bob):
        for number, words in enumerate(HOSTILE):
            await hostile_page(ann, f"{number} {words}", words)
        for path in ("/", "/pages", "/contributors", "/search?q=alert"):
            page = await bob.get(path)
            assert page.status_code == 200
            assert_harmless(page.text)
        await forms_of_other_sites_do_nothing(ann)
        await errors_tell_nothing(bob)


async def hostile_page(ann: Browser, slug: str, words: str) -> None:
    made = await ann.submit("/new", title=words, slug=slug)
    assert made.status_code == 200
    path = made.request.url.raw_path.decode()
    page = await ann.submit(path, body=words)
    assert page.status_code == 200
    for answer in (page, made, await ann.get(path.replace("/edit/", "/history/"))):
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
