"""The window's pages of what the events of an aggregate do to a view, one by one."""

import re
from urllib.parse import quote

from httpx2 import Response

from eventsourcing_kafka.compose.web.pipeline.aggregates import STEPS
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.fts import VIEW
from tests.operations.test_rebuild import schemas_of
from tests.pipeline import Pipeline

from .browser import Browser, text_of
from .test_pipeline import HOSTILE, assert_harmless
from .window import Served, looked_at

VERSION = re.compile(r"<h2>[\w.]+, version (\d+), position")


def versions(page: Response) -> list[int]:
    return [int(version) for version in VERSION.findall(page.text)]


def path(aggregate: object, after: int = 0, view: str = "fts") -> str:
    return f"/pipeline/views/{view}/steps?id={quote(str(aggregate))}&after={after}"


async def test_each_event_is_shown_with_what_it_does_a_page_at_a_time_and_nothing_is_written(
    environment: dict[str, str],
) -> None:
    async with looked_at(environment) as (pipeline, served):
        aggregate = await pipeline.write("page", "one\n", HOSTILE, *map(str, range(STEPS)))
        await pipeline.settled()
        olga = await served.browser("Olga")
        before = await pipeline.pages(), await schemas_of(pipeline)

        of_it = f"/pipeline/aggregate?application=ContentManagement&id={aggregate}"
        assert f'href="{path(aggregate).removesuffix("&after=0")}"' in (await olga.get(of_it)).text
        first = await olga.get(path(aggregate))
        assert versions(first) == list(range(1, STEPS + 1))
        told = " ".join(text_of(first).split())
        assert 'before: pages: body="", version=1,' in told
        assert 'now: pages: body="one\\n", version=2,' in told
        assert "<script>alert(1)</script>" in told
        assert_harmless(first)

        second = await olga.get(path(aggregate, STEPS))
        assert f"after={STEPS}" in first.text
        assert versions(second) == [STEPS + 1, STEPS + 2, STEPS + 3]
        assert f'now: pages: body="{STEPS - 1}", version={STEPS + 3},' in text_of(second)
        assert "Those after" not in second.text
        assert "no events of it after version 900" in text_of(await olga.get(path(aggregate, 900)))
        assert (await pipeline.pages(), await schemas_of(pipeline)) == before

        await whoever_is_no_operator_is_not_let_in(served, path(aggregate))
        await what_can_not_be_shown_is_told(olga, pipeline, served, aggregate)


async def whoever_is_no_operator_is_not_let_in(served: Served, page: str) -> None:
    assert "/sign-in" in (await (await served.browser("")).get(page)).headers["location"]
    assert (await (await served.browser("Bob")).get(page)).status_code == 403


async def what_can_not_be_shown_is_told(
    olga: Browser, pipeline: Pipeline, served: Served, aggregate: object
) -> None:
    for asked, status, said in (
        (path(HOSTILE), 409, "The write model has nothing of '<script>"),
        (path(""), 409, "has nothing of ''"),
        (path(aggregate, view="activity"), 409, "There is no view activity yet"),
        (path(aggregate, view="none"), 404, "There is no such view"),
        (f"{path(aggregate)}x", 400, "That is no number"),
    ):
        page = await olga.get(asked)
        assert page.status_code == status
        assert said in text_of(page)
        assert_harmless(page)

    lost = ViewStore.of(VIEW, {**pipeline.environment, "FTS_POSTGRES_PORT": "1"})
    served.window.stores = {**served.window.stores, "fts": lost}
    page = await olga.get(path(aggregate))
    assert page.status_code == 503
    assert "Traceback" not in page.text
