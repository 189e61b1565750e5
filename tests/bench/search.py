"""Searches in a large view, while its consumer is catching up."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import anyio

from consumer.fts import VIEW
from consumer.fts.search import search
from consumer.store import ViewStore
from consumer.unit_of_work import Place
from producer.contentmanagement.domainmodel import Page
from producer.wire import KafkaSettings, partition_of
from tests.bench.figures import Line, Sample, reported, within
from tests.bench.history import SEED, Author
from tests.bench.servers import Environment, Program, World, seconds_since
from tests.bench.views import EVENTS, SESSION

PAGES = 100_000
BODY = 2000
PARAGRAPH = 400
BATCH = 5000
SEARCHES = 100
MOST_MILLISECONDS = 50.0
EVERYWHERE = "wiki"
"""A word on every page."""


def searching(world: World) -> Iterator[Line]:
    """Search for words of any frequency, and for one that is on every page."""
    environment = world.view(world.published(world.some(EVENTS)), "FTS")
    words = Author().ordinary_words(world.some(SEARCHES))
    pages = world.some(PAGES)
    ordinary, worst = anyio.run(_searched, environment, pages, words)
    p95 = Sample([ordinary.percentile(95)])
    yield within(f"search in {pages:,} pages, p95", p95, "ms", MOST_MILLISECONDS)
    yield reported("search for a word on every page, p95", Sample([worst.percentile(95)]), "ms")


async def _searched(
    environment: Environment, pages: int, words: list[str]
) -> tuple[Sample, Sample]:
    store = ViewStore.of(VIEW, environment)
    await _filled(store, pages, KafkaSettings.from_env(environment).topic_partitions)
    with Program.started(environment, "consumer", "run", "fts"):
        await _catching_up(store)
        ordinary = [await _milliseconds(store, word) for word in words]
        worst = [await _milliseconds(store, EVERYWHERE) for _ in words[::10]]
    return Sample(ordinary), Sample(worst)


async def _milliseconds(store: ViewStore, query: str) -> float:
    begin = time.perf_counter()
    await search(store, query)
    return seconds_since(begin) * 1000


async def _catching_up(store: ViewStore) -> None:
    """Wait until the consumer has begun."""
    async with store.connected() as connection:
        while not any(row.records for row in await store.tracking.progress(connection)):  # noqa: ASYNC110
            await anyio.sleep(0.05)


async def _filled(store: ViewStore, pages: int, partitions: int) -> None:
    """Write pages through the view's own unit of work, and index them at the end."""
    author, chance = Author(), random.Random(SEED)
    paragraphs = ["\n".join(author.lines(PARAGRAPH)) for _ in range(BATCH)]
    async with store.connected(SESSION) as connection:
        await store.prepare(connection, partitions, indexed=False)
        for begin in range(0, pages, BATCH):
            unit = store.view.unit_of_work(store.schema)
            for number in range(begin, min(begin + BATCH, pages)):
                body = "\n".join([EVERYWHERE, *chance.sample(paragraphs, BODY // PARAGRAPH)])
                page = Page(title=f"Page {number}", slug=f"other-{number}", body=body)
                partition = partition_of(str(page.id).encode(), partitions)
                unit.apply(page.collect_events()[0], Place(partition, 0))
            await unit.write(connection)
        await store.create_indexes(connection)
        await connection.execute(store.sql("ANALYZE"))
