"""Three pages, found by their words, whatever carries the events to the search view."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from anyio import from_thread, to_thread
from eventsourcing.system import MultiThreadedRunner, Runner, SingleThreadedRunner

from eventsourcing_kafka.consumer.views.fts.application import FtsProcess
from eventsourcing_kafka.consumer.views.fts.search import search
from eventsourcing_kafka.consumer.views.fts.system import ContentManagementSystem
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import user_id_cvar
from tests.pipeline import SECONDS, Pipeline

BODIES = {
    "animals": ("cat", "cat dog zebra"),
    "plants": ("rose", "bluebell rose jasmine"),
    "minerals": ("calcium", "iron zinc calcium"),
}
FOUND = {
    "cat": {"animals"},
    "dog": {"animals"},
    "rose": {"plants"},
    "bluebell": {"plants"},
    "calcium": {"minerals"},
    "zinc": {"minerals"},
    "dog cat": {"animals"},
    "rose zebra": set(),
    "rose OR zebra": {"plants", "animals"},
}

FTS = "eventsourcing_kafka.consumer.views.fts"
SQLITE = {
    "PERSISTENCE_MODULE": "eventsourcing.sqlite",
    "SQLITE_DBNAME": ":memory:",
    "PROCESS_RECORDER_TOPIC": f"{FTS}.sqlite:SQLiteFtsProcessRecorder",
}
POSTGRES = {"PROCESS_RECORDER_TOPIC": f"{FTS}.postgres:PostgresFtsProcessRecorder"}


def play(
    wiki: ContentManagement, settle: Callable[[], None], find: Callable[[str], Sequence[UUID]]
) -> None:
    """Write the three pages twice, and search before, between and after."""

    def found(query: str) -> set[str]:
        page_ids = find(query)
        assert len(page_ids) == len(set(page_ids))
        return {wiki.get_page_by_id(page_id)["slug"] for page_id in page_ids}

    user_id_cvar.set(uuid4())
    for slug in BODIES:
        wiki.create_page(slug.title(), slug)
    settle()
    assert [found(first) for first, _ in BODIES.values()] == [set(), set(), set()]

    for slug, (first, _) in BODIES.items():
        wiki.update_body(slug, first)
    settle()
    assert [found(first) for first, _ in BODIES.values()] == [{slug} for slug in BODIES]
    assert [found(later) for later in ("dog", "bluebell", "zinc")] == [set(), set(), set()]

    for slug, (_, second) in BODIES.items():
        wiki.update_body(slug, second)
    settle()
    assert {query: found(query) for query in FOUND} == FOUND


def play_under(runner: Runner[UUID]) -> None:
    with runner:
        wiki, view = runner.get(ContentManagement), runner.get(FtsProcess)

        def settle() -> None:
            head = wiki.recorder.max_notification_id()
            assert head
            view.recorder.wait(wiki.name, head, timeout=SECONDS)

        play(wiki, settle, view.search)


def test_three_pages_are_found_by_their_words_under_the_library_s_runner_on_sqlite() -> None:
    play_under(SingleThreadedRunner(ContentManagementSystem(), SQLITE))


@pytest.mark.parametrize("runner", [SingleThreadedRunner, MultiThreadedRunner])
def test_three_pages_are_found_by_their_words_under_the_library_s_runners_on_postgres(
    runner: type[Runner[Any]], environment: dict[str, str]
) -> None:
    play_under(runner(ContentManagementSystem(), environment | POSTGRES))


async def test_three_pages_are_found_by_their_words_through_kafka(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment) as pipeline:

        async def find(query: str) -> list[UUID]:
            return [result.id for result in await search(pipeline.store, query)]

        await to_thread.run_sync(
            lambda: play(
                pipeline.wiki,
                lambda: from_thread.run(pipeline.applied),
                lambda query: from_thread.run(find, query),
            )
        )
