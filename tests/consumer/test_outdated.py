"""A view that is older than what it reads stops there, loses nothing, and goes on once updated."""

from dataclasses import replace
from uuid import UUID

import pytest

from eventsourcing_kafka.consumer.engine.applying import Applied, OnError
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.wire import EventTypes
from eventsourcing_kafka.testing import ViewUnderTest
from tests.pipeline import WithoutKafka, page_id

OLDER = [each.cls for each in VIEW.types if each.name != "Page.TitleUpdated"]


def older(view: View) -> View:
    """Return a view as it was before a type of event was added."""
    known = EventTypes(OLDER, [Page])
    return replace(
        view, types=known, wanted=EventTypes(it.cls for it in known if it in view.wanted)
    )


@pytest.mark.parametrize("on_error", [OnError.PARK, OnError.STOP])
async def test_a_new_type_of_event_stops_its_partition_until_the_view_is_updated(
    environment: dict[str, str], on_error: OnError
) -> None:
    async with WithoutKafka(environment, older(VIEW)) as pipeline:
        concerned = _written(pipeline)

        outcome = await pipeline.catch_up(on_error)

        assert isinstance(outcome, Applied)
        (reason,) = outcome.stopped.values()
        assert list(outcome.stopped) == [pipeline.partition(concerned)]
        assert "update this program" in reason
        assert outcome.parked == 0
        seen = await pipeline.seen()
        assert {page.title for page in await pipeline.pages()} == {"Rose", "Tulip"}

        async with ViewUnderTest(VIEW, environment, pipeline.wiki) as updated:
            assert await updated.seen() == seen
            await updated.apply()
            assert {page.title for page in await pipeline.pages()} == {"A rose", "Tulip"}


def _written(pipeline: WithoutKafka) -> UUID:
    """Have a page with an event of the new type, and another one without."""
    wiki = pipeline.wiki
    for title in ("Rose", "Tulip"):
        wiki.create_page(title, title.lower())
    wiki.update_title("rose", "A rose")
    wiki.update_body("rose", "red")
    return page_id(wiki, "rose")
