"""The JSON API, from an empty wiki to a page that two programs have changed."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from uuid import uuid4

import anyio
from httpx2 import ASGITransport, AsyncClient, Response
from hypothesis import given
from hypothesis import strategies as st

from eventsourcing_kafka.compose.web.api.app import api_app
from eventsourcing_kafka.compose.web.api.position_tokens import PositionTokens
from eventsourcing_kafka.compose.web.api.schemas import Matched
from eventsourcing_kafka.compose.web.auth.session import User
from eventsourcing_kafka.compose.web.auth.tokens import Tokens
from eventsourcing_kafka.consumer.views.fts.search import START, STOP
from tests.pipeline import Pipeline

from .browser import Browser, served

SECRET = "a secret of the tests"
BODY = "# Roses 🌹\n\na rose is red\n"
ROSES = "/api/pages/roses%2Fred%20ones"
PARK: LiteralString = """
    INSERT INTO {schema}.parked (
           application, topic, partition, record_offset, originator_id, headers, reason,
           traceback, position)
    VALUES ('contentmanagement', '', 0, 0, %s, '', 'in a test', '', 7)
"""


class Program:
    """A program that acts on behalf of somebody."""

    def __init__(self, browser: Browser, name: str) -> None:
        self.user = User(uuid4(), name)
        self.client = browser.client
        self.token = Tokens(SECRET, ()).token_for(self.user)
        self._headers = {"authorization": f"Bearer {self.token}"}

    async def get(self, path: str, **headers: str) -> Response:
        return await self.client.get(path, headers=headers)

    async def post(self, path: str, given: Any, **headers: str) -> Response:
        return await self.client.post(path, json=given, headers={**self._headers, **headers})

    async def patch(self, path: str, given: Any, **headers: str) -> Response:
        based_on = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.patch(path, json=given, headers={**self._headers, **based_on})

    async def request(self, method: str, path: str, **sent: Any) -> Response:
        sent["headers"] = {**self._headers, **sent["headers"]}
        return await self.client.request(method, path, **sent)

    async def send(self, content: bytes, media_type: str = "application/json") -> Response:
        headers = {**self._headers, "content-type": media_type}
        return await self.client.post("/api/pages", content=content, headers=headers)


@asynccontextmanager
async def programs(
    environment: Mapping[str, str],
) -> AsyncIterator[tuple[Pipeline, Program, Program]]:
    async with served(environment) as (pipeline, ann, bob):
        for browser in (ann, bob):
            # What signs a browser in is worth nothing here.
            browser.client.headers["cookie"] = "; ".join(
                f"{name}={value}" for name, value in browser.client.cookies.items()
            )
        yield pipeline, Program(ann, "Ann"), Program(bob, "Bob")


def problem(answer: Response, code: str, status: int) -> Mapping[str, Any]:
    """Return the problem that an answer tells, which is of this type."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    told: dict[str, Any] = answer.json()
    assert told["type"] == f"/api#{code}", told
    assert told["status"] == answer.status_code == status
    assert told["title"]
    assert told["detail"]
    assert "Traceback" not in answer.text
    return told


async def test_the_whole_story_as_json(environment: dict[str, str]) -> None:
    async with programs(environment) as (pipeline, ann, bob):
        await a_page_is_made_and_read_at_once(ann)
        await it_is_found(ann)
        await of_two_the_second_gets_both_texts(ann, bob)
        await a_change_says_what_it_is_based_on(ann)
        await it_gets_another_title_and_slug(ann)
        await its_history_is_there_in_parts(ann)
        await all_pages_are_listed_in_parts(ann)
        await who_changed_what_is_listed(ann)
        await a_page_that_is_stale_is_another_answer(pipeline, ann)
        await of_many_at_once_each_is_told(ann)
        await commands_need_a_token(ann)
        await what_is_no_json_is_refused(ann)
        await what_a_page_can_not_hold_is_refused(ann)
        await what_is_not_there_is_said(ann)
        await what_a_view_does_not_reach_is_said(ann)


async def a_page_is_made_and_read_at_once(ann: Program) -> None:
    made = await ann.post("/api/pages", {"title": "Roses & more", "slug": "roses/red ones"})
    assert made.status_code == 201
    assert made.headers["location"] == ROSES
    assert made.headers["etag"] == '"1"'
    assert made.json()["version"] == 1
    read = await ann.get(ROSES, **{"wiki-position": made.json()["position"]})
    assert read.json()["body"] == ""

    saved = await ann.patch(ROSES, {"body": BODY}, if_match=read.headers["etag"])
    assert saved.status_code == 200
    assert saved.headers["wiki-position"] == saved.json()["position"]
    read = await ann.get(f"{ROSES}?position={saved.json()['position']}")
    page = read.json()
    assert page.pop("position") == read.headers["wiki-position"]
    assert page == {
        "id": made.json()["id"],
        "slug": "roses/red ones",
        "title": "Roses & more",
        "body": BODY,
        "version": 2,
        "stale": False,
    }
    assert read.headers["etag"] == saved.headers["etag"] == '"2"'
    assert "set-cookie" not in read.headers
    known = await ann.get(ROSES, **{"if-none-match": read.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


async def it_is_found(ann: Program) -> None:
    for title, slug in (("No such flower", "third"), ("A rose as well", "other")):
        made = await ann.post("/api/pages", {"title": title, "slug": slug})
        # What a position is waited for with is the page that was written.
        assert (await ann.get(f"/api/changes?position={made.json()['position']}")).is_success
        found = await ann.get(f"/api/pages/{slug}?position={made.json()['position']}")
        assert found.json()["title"] == title
    parts = await walked(ann, "/api/search?q=rose&limit=1")
    assert [part["count"] for part in parts] == [2, 2]
    (roses,), (other,) = (part["results"] for part in parts)
    assert (other["slug"], other["title"]["matches"]) == ("other", [[2, 6]])
    text, ranges = roses["snippet"]["text"], roses["snippet"]["matches"]
    assert "🌹" in text
    assert [text[begin:end] for begin, end in ranges] == ["Roses", "rose"]
    assert START not in json.dumps(parts, ensure_ascii=False)
    assert (await ann.get("/api/search?q=zebra")).json() == {
        "count": 0,
        "results": [],
        "next": None,
    }


async def of_two_the_second_gets_both_texts(ann: Program, bob: Program) -> None:
    based_on = (await bob.get(ROSES)).headers["etag"]
    await ann.patch(ROSES, {"body": "Ann's\n"}, if_match=based_on)
    refused = await bob.patch(ROSES, {"body": "Bob's\n"}, if_match=based_on)
    told = problem(refused, "page-changed", 409)
    assert told["current"]["body"] == "Ann's\n"
    assert told["yours"] == {"body": "Bob's\n"}
    assert told["diff"] == "1c1\n< Ann's\n---\n> Bob's\n"
    for other in ({"title": "Lost"}, {"slug": "lost"}):
        problem(await bob.patch(ROSES, other, if_match=based_on), "page-changed", 409)

    saved = await bob.patch(ROSES, {"body": "Bob's\n"}, if_match=refused.headers["etag"])
    assert saved.json()["version"] == told["current"]["version"] + 1 == 4


async def a_change_says_what_it_is_based_on(ann: Program) -> None:
    problem(await ann.patch(ROSES, {"body": "x"}), "no-version-given", 428)
    for tag in ("*", "4", '"4", "5"', '"x"', ""):
        told = problem(await ann.patch(ROSES, {"body": "x"}, if_match=tag), "invalid", 422)
        assert told["errors"][0]["at"] == "If-Match"


async def it_gets_another_title_and_slug(ann: Program) -> None:
    titled = await ann.patch(ROSES, {"title": "Roses"}, if_match='W/"4"')
    moved = await ann.patch(ROSES, {"slug": "roses"}, if_match=titled.headers["etag"])
    assert (moved.json()["slug"], moved.json()["version"]) == ("roses", 6)
    read = await ann.get(f"/api/pages/roses?position={moved.json()['position']}")
    assert (read.json()["title"], read.json()["slug"]) == ("Roses", "roses")
    problem(await ann.get(ROSES), "no-page", 404)
    taken = await ann.patch("/api/pages/roses", {"slug": "other"}, if_match='"6"')
    problem(taken, "slug-taken", 409)
    problem(await ann.post("/api/pages", {"title": "x", "slug": "other"}), "slug-taken", 409)


async def its_history_is_there_in_parts(ann: Program) -> None:
    parts = await walked(ann, "/api/history/roses?limit=4")
    changes = [change for part in parts for change in part["changes"]]
    assert [len(part["changes"]) for part in parts] == [4, 2]
    assert [(change["version"], change["change"]) for change in changes] == [
        (6, "SlugUpdated"),
        (5, "TitleUpdated"),
        (4, "BodyUpdated"),
        (3, "BodyUpdated"),
        (2, "BodyUpdated"),
        (1, "Created"),
    ]
    assert changes[2]["diff"] == "1c1\n< Ann's\n---\n> Bob's\n"
    assert changes[2]["user_id"] != changes[3]["user_id"] == str(ann.user.id)
    earlier = (await ann.get("/api/versions/2/roses")).json()
    assert (earlier["body"], earlier["version"]) == (BODY, 2)
    problem(await ann.get("/api/versions/7/roses"), "no-version", 404)


async def all_pages_are_listed_in_parts(ann: Program) -> None:
    for asked, slugs in {
        "limit=2": [["roses", "third"], ["other"]],
        "limit=2&desc=true": [["other", "third"], ["roses"]],
        "limit=1&gt=1&lte=2": [["third"], []],
        "limit=1&gt=1&desc=1": [["other"], ["third"], []],
        "lte=0": [[]],
    }.items():
        parts = await walked(ann, f"/api/pages?{asked}")
        assert [[page["slug"] for page in part["pages"]] for part in parts] == slugs


async def who_changed_what_is_listed(ann: Program) -> None:
    made = await ann.post("/api/pages", {"title": "Last", "slug": "last"})
    seen = {"wiki-position": made.json()["position"]}
    (latest,) = (await ann.get("/api/changes?limit=1", **seen)).json()["changes"]
    assert (latest["slug"], latest["user_id"]) == ("last", str(ann.user.id))
    most = (await ann.get("/api/contributors", **seen)).json()["contributors"]
    assert [(one["user_id"] == str(ann.user.id), one["edits"]) for one in most] == [
        (True, 8),
        (False, 1),
    ]


async def a_page_that_is_stale_is_another_answer(pipeline: Pipeline, ann: Program) -> None:
    path = "/api/pages/third"
    read = await ann.get(path)
    async with pipeline.store.connected() as connection:
        await connection.execute(pipeline.store.sql(PARK), [read.json()["id"]])
        known = {"if-none-match": read.headers["etag"]}
        stale = await ann.get(path, **known)
        assert (stale.status_code, stale.json()["stale"]) == (200, True)
        (found,) = (await ann.get("/api/search?q=flower")).json()["results"]
        assert found["stale"] is True
        saved = await ann.patch(path, {"body": ""}, if_match=stale.headers["etag"])
        assert saved.json()["version"] == 2
        await connection.execute(pipeline.store.sql("DELETE FROM {schema}.parked"))


async def of_many_at_once_each_is_told(ann: Program) -> None:
    answers: list[Response] = []

    async def make(number: int) -> None:
        page = {"title": "One of many", "slug": f"many-{number}"}
        answers.append(await ann.post("/api/pages", page))

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(make, number)
    for answer in answers:
        if answer.status_code != 201:
            problem(answer, "busy", 503)
            assert answer.headers["retry-after"] == "1"
    made = {answer.json()["slug"] for answer in answers if answer.status_code == 201}
    listed = (await ann.get("/api/pages?gt=4")).json()["pages"]
    assert {page["slug"] for page in listed} == made
    assert made


async def commands_need_a_token(ann: Program) -> None:
    for sent in ("", "Bearer", "Bearer forged", f"Basic {ann.token}", f"Bearer {ann.token}x"):
        answer = await ann.client.post(
            "/api/pages", json={"title": "x", "slug": "x"}, headers={"authorization": sent}
        )
        problem(answer, "no-token", 401)
        assert answer.headers["www-authenticate"] == "Bearer"


async def what_is_no_json_is_refused(ann: Program) -> None:
    for content in (
        b"",
        b"{",
        b'{"title": "\xff", "slug": "x"}',
        b'\xef\xbb\xbf{"title": "x", "slug": "x"}',
        '{"title": "x", "slug": "x"}'.encode("utf-16"),
        rb'{"title": "\ud800", "slug": "x"}',
        b'{"title": NaN, "slug": "x"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ):
        problem(await ann.send(content), "not-json", 400)
    for media_type in (
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ):
        problem(await ann.send(b'{"title": "x", "slug": "x"}', media_type), "not-json-type", 415)
    problem(await ann.send(b" " * 2_000_000), "too-large", 413)


async def what_a_page_can_not_hold_is_refused(ann: Program) -> None:
    whole = {"title": "x", "slug": "x"}
    refused: list[tuple[Any, str]] = [
        ([], ""),
        ("x", ""),
        ({"title": "x"}, "/slug"),
        ({**whole, "body": "x"}, "/body"),
        ({**whole, "title": 1}, "/title"),
        ({**whole, "title": "a\0b"}, "/title"),
        ({**whole, "slug": "  "}, "/slug"),
        ({**whole, "slug": "x" * 513}, "/slug"),
        ({**whole, "slug": 10**4000}, "/slug"),
    ]
    for given_, at in refused:
        told = problem(await ann.post("/api/pages", given_), "invalid", 422)
        assert [error["at"] for error in told["errors"]] == [at], told
    refused = [
        ({}, ""),
        ({"title": "x", "slug": "x"}, ""),
        ({"title": None}, "/title"),
        ({"body": "x" * 400_001}, "/body"),
        ({"body": "\0"}, "/body"),
    ]
    for given_, at in refused:
        told = problem(await ann.patch("/api/pages/other", given_, if_match='"1"'), "invalid", 422)
        assert [error["at"] for error in told["errors"]] == [at], told


async def what_is_not_there_is_said(ann: Program) -> None:
    for path in ("/api/", "/api/nothing", "/api/pages/../nothing", "/api/%ff"):
        problem(await ann.get(path), "no-address", 404)
    for path in (
        "/api/pages/",
        "/api/pages/%00",
        "/api/pages/a%0Ab",
        "/api/pages/%ff",
        "/api/history/none",
    ):
        problem(await ann.get(path), "no-page", 404)
    for path in ("/api/pages", "/api/pages/other", "/api/search", "/api/openapi.json"):
        answer = await ann.client.request("DELETE", path)
        problem(answer, "no-method", 405)
        assert "GET" in answer.headers["allow"]


async def what_a_view_does_not_reach_is_said(ann: Program) -> None:
    future = PositionTokens(SECRET).token(2**40)

    async def is_late(path: str) -> None:
        late = await ann.get(path, **{"wiki-position": future})
        problem(late, "position-not-reached", 503)
        assert late.headers["retry-after"] == "1"

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for path in ("pages/other", "search?q=rose", "changes", "contributors"):
                tasks.start_soon(is_late, f"/api/{path}")
    forged = PositionTokens("another secret").token(2**40)
    for token in ("", "x", forged, f"{future}x", "x" * 201, "ü", "\0"):
        told = problem(
            await ann.client.get("/api/changes", params={"position": token}), "invalid", 422
        )
        assert told["errors"][0]["at"] == "position"


async def walked(ann: Program, path: str | None) -> list[Any]:
    """Return a list's parts, each as the one before leads to it."""
    parts = []
    while path:
        answer = await ann.get(path)
        assert answer.status_code == 200, answer.text
        parts.append(answer.json())
        path = parts[-1]["next"]
    return parts


async def test_what_fails_tells_nothing() -> None:
    api = api_app()  # Without a wiki.
    transport = ASGITransport(api, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://wiki") as client:
        told = problem(await client.get("/pages"), "failed", 500)
    assert set(told) == {"type", "title", "status", "detail"}
    assert "state" not in told["detail"]


@given(st.text(st.sampled_from(f"{START}{STOP}ab🌹")))
def test_what_is_marked_is_what_is_between_the_marks(marked: str) -> None:
    matched = Matched.of(marked)
    assert matched.text == marked.replace(START, "").replace(STOP, "")
    ends = [place for begin_and_end in matched.matches for place in begin_and_end]
    assert ends == sorted(ends)
    assert all(0 <= place <= len(matched.text) for place in ends)


@given(st.lists(st.text(st.sampled_from("ab🌹"))))
def test_ranges_cut_what_was_marked(parts: list[str]) -> None:
    marked = "-".join(f"{START}{part}{STOP}" for part in parts)
    matched = Matched.of(marked)
    assert [matched.text[begin:end] for begin, end in matched.matches] == parts
