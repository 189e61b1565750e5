"""Whatever is written, Kafka brings the view to where the library's own runner brings it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from anyio.from_thread import BlockingPortal
from eventsourcing.system import SingleThreadedRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventsourcing_kafka.consumer.views.fts.application import FtsProcess, FtsRecorder
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo
from eventsourcing_kafka.consumer.views.fts.system import ContentManagementSystem
from eventsourcing_kafka.producer.contentmanagement.application import (
    ContentManagement,
    InvalidPageError,
    PageNotFoundError,
    SlugConflictError,
)
from tests.pipeline import Pipeline

from .test_scenario import SQLITE


class Command(NamedTuple):
    name: str
    slug: str
    argument: str

    def __call__(self, wiki: ContentManagement, slug: Callable[[str], str]) -> None:
        with suppress(InvalidPageError, PageNotFoundError, SlugConflictError):
            match self.name:
                case "create":
                    wiki.create_page(self.argument, slug(self.slug))
                case "slug":
                    wiki.update_slug(slug(self.slug), slug(self.argument))
                case "title":
                    wiki.update_title(slug(self.slug), self.argument)
                case "body":
                    wiki.update_body(slug(self.slug), self.argument)


SLUGS = st.sampled_from(["rose", "zebra", "größe"])
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
BODIES = st.lists(
    st.tuples(
        st.sampled_from(["same", "", "< line", "> line", "---", "1c1", "\\ No newline"]) | TEXTS,
        st.sampled_from(["\n", "\r\n", "\n\n", "\r", ""]),
    ),
    max_size=6,
).map(lambda lines: "".join(text + end for text, end in lines))
COMMANDS = st.one_of(
    st.builds(Command, st.just("create"), SLUGS, TEXTS),
    st.builds(Command, st.just("slug"), SLUGS, SLUGS),
    st.builds(Command, st.just("title"), SLUGS, TEXTS),
    st.builds(Command, st.just("body"), SLUGS, BODIES),
)
HISTORIES = st.lists(COMMANDS, max_size=12).map(
    lambda commands: [Command("create", "rose", "Rose"), *commands]
)


def under_the_library(history: Sequence[Command], slug: Callable[[str], str]) -> list[PageInfo]:
    with SingleThreadedRunner[UUID](ContentManagementSystem(), SQLITE) as runner:
        wiki, recorder = runner.get(ContentManagement), runner.get(FtsProcess).recorder
        for command in history:
            command(wiki, slug)
        assert isinstance(recorder, FtsRecorder)
        pages = [recorder.select_page(logged.page_id) for logged in wiki.page_log.get()]
        return [page for page in pages if page]


def comparable(pages: Sequence[PageInfo]) -> list[tuple[Any, ...]]:
    """Return pages without their IDs, which are random."""
    return sorted(page[1:] for page in pages)


@pytest.fixture
def pipeline(portal: BlockingPortal, environment: dict[str, str]) -> Iterator[Pipeline]:
    """One pipeline for all examples, in the loop of the session."""
    with portal.wrap_async_context_manager(Pipeline(environment)) as pipeline:
        yield pipeline


# The pipeline runs in a thread of its own, and its clients draw lots while an example is made.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=HISTORIES)
def test_any_history_gives_the_same_pages_through_kafka(
    portal: BlockingPortal, pipeline: Pipeline, history: list[Command]
) -> None:
    example = uuid4().hex

    def slug(name: str) -> str:
        return f"{name}-{example}"

    for command in history:
        command(pipeline.wiki, slug)
    portal.call(pipeline.applied)
    pages = [page for page in portal.call(pipeline.pages) if page.slug.endswith(example)]
    assert comparable(pages) == comparable(under_the_library(history, slug))
