"""The window on a pipeline of tagged decisions."""

import re
from pathlib import Path

from httpx2 import ASGITransport, AsyncClient

from eventsourcing_kafka.compose.web.pipeline.app import window_app
from eventsourcing_kafka.producer.runtime.pipeline import read_pipeline

from .test_pipeline import NAME, Pipeline, offered

FILE = f"""
[applications]
Courses = "examples.courses.application:Courses"
[views]
places = "{NAME}"
"""


async def test_it_shows_the_pipeline_and_has_no_page_for_an_aggregate_as_there_is_none(
    courses_environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text(FILE)
    async with Pipeline(courses_environment) as running:
        await running.append(offered("poetry", 2))
        await running.applied()
        pipeline = read_pipeline(file)
        window = window_app(pipeline.environment(running.environment), "secret" * 6, pipeline)
        async with (
            window.router.lifespan_context(window),
            AsyncClient(transport=ASGITransport(window), base_url="http://localhost") as olga,
        ):
            form = (await olga.get("/sign-in")).text
            (token,) = re.findall('name="token" value="(.+?)"', form)
            await olga.post("/sign-in", data={"name": "operator", "token": token})
            shown = (await olga.get("/pipeline")).text
            aggregate = await olga.get("/pipeline/aggregate?application=Courses&id=poetry")

    cards = re.findall('<article class="card well" id="(.+?)"', shown)
    assert cards == ["outbox-courses", "relay-courses", "topic-courses", "view-places"]
    assert "has tagged decisions, which are of no aggregate" in aggregate.text
