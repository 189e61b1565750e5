"""Searches in a large view, while its consumer is catching up all the time.

The pages that are searched are of no partition of the topic: so the consumer can be made to
catch up again, and leaves them as they are.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, LiteralString

import anyio

from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.unit_of_work import Place
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.consumer.views.fts.search import Searcher, search
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from tests.benchmarks.figures import Line, Sample, within
from tests.benchmarks.history import SEED, Author
from tests.benchmarks.servers import Environment, Program, World, seconds_since
from tests.benchmarks.views import EVENTS, SESSION

PAGES = 100_000
COPIES = 5
"""So often there is a page with the same words: to make them out takes most of the time."""
BODY = 2000
PARAGRAPH = 400
PARAGRAPHS = 5000
BATCH = 5000
SEARCHES = 200
WORST_SEARCHES = 20
MOST_MILLISECONDS = 50.0
MOST_MILLISECONDS_OF_THE_WORST = 1000.0
EVERYWHERE = "wiki"
"""A word on every page."""
ORDINARY = "ordinary words"

# Whatever columns there are.
TAKE: LiteralString = "CREATE TEMP TABLE copied AS TABLE {schema}.pages"
COPY: LiteralString = """
    UPDATE copied SET id = gen_random_uuid(), slug = slug || '-again';
    INSERT INTO {schema}.pages TABLE copied
"""

Query = Callable[[str], Awaitable[Any]]


def searching(world: World) -> Iterator[Line]:
    """Search for ordinary words, and for what takes most to find."""
    environment = large_view(world)
    words = Author().ordinary_words(world.some(SEARCHES))
    took = anyio.run(_searched, environment, world.size(environment), words, _worst(world))
    searched = f"search in {world.some(PAGES):,} pages"
    for what, sample in took.items():
        p95 = Sample([sample.percentile(95)])
        limit = MOST_MILLISECONDS if what == ORDINARY else MOST_MILLISECONDS_OF_THE_WORST
        yield within(f"{searched}, {what}, p95", p95, "ms", limit)


@cache
def large_view(world: World) -> Environment:
    """Return the settings of a view with all these pages."""
    environment = world.view(world.published(world.some(EVENTS)), "FTS")
    anyio.run(_filled, environment, world.some(PAGES))
    return environment


def _worst(world: World) -> dict[str, Sequence[str]]:
    """Return queries that nothing makes quick."""
    one, other, *more = Author().common_words(10)
    times = world.some(WORST_SEARCHES)
    return {
        "a word on every page": [EVERYWHERE] * times,
        "an OR of common words": [" OR ".join([one, other, *more])] * times,
        "a phrase of common words": [f'"{one} {other}"'] * times,
        "a negation alone": [f"-{one}"] * times,
        "a negation alone, of what is on every page": [f"-{EVERYWHERE}"] * times,
    }


async def _searched(
    environment: Environment,
    events: int,
    words: Sequence[str],
    worst: Mapping[str, Sequence[str]],
) -> dict[str, Sample]:
    store = ViewStore.of(VIEW, environment)
    with Program.started(environment, "eventsourcing_kafka", "consumer", "run", "fts"):
        async with anyio.create_task_group() as tasks, Searcher(store) as searcher:
            await tasks.start(_catching_up, store, events)
            took = {
                what: await _milliseconds(searcher.search, queries)
                for what, queries in {ORDINARY: words, **worst}.items()
            }
            took[f"{ORDINARY}, a connection each"] = await _milliseconds(
                lambda query: search(store, query), words
            )
            tasks.cancel_scope.cancel()
    return took


async def _milliseconds(search: Query, queries: Sequence[str]) -> Sample:
    took = []
    for query in queries:
        begin = time.perf_counter()
        await search(query)
        took.append(seconds_since(begin) * 1000)
    return Sample(took)


async def _catching_up(
    store: ViewStore, events: int, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    """Tell when the consumer has begun, and have it start over whenever it is through."""
    async with store.connected() as connection:
        begun = False
        while True:
            applied = sum(row.records for row in await store.tracking.progress(connection))
            if applied and not begun:
                begun = True
                task_status.started()
            if applied >= events:
                await store.replay(connection)
            await anyio.sleep(0.05)


async def _filled(environment: Environment, pages: int) -> None:
    """Write pages through the view's own unit of work, copy them, and index all at the end."""
    store = ViewStore.of(VIEW, environment)
    partitions = KafkaSettings.from_env(environment).topic_partitions
    author, chance = Author(), random.Random(SEED)
    paragraphs = [_paragraph(author) for _ in range(PARAGRAPHS)]
    async with store.connected(SESSION) as connection:
        await store.prepare(connection, partitions, indexed=False)
        for begin in range(0, pages // COPIES, BATCH):
            unit = store.view.unit_of_work(store.schema)
            for number in range(begin, min(begin + BATCH, pages // COPIES)):
                body = "\n\n".join([EVERYWHERE, *chance.sample(paragraphs, BODY // PARAGRAPH)])
                page = Page(title=f"Page {number}", slug=f"other-{number}", body=body)
                unit.apply(page.collect_events()[0], Place(partitions, 0))
            await unit.write(connection)
        await connection.execute(store.sql(TAKE))
        for _ in range(COPIES - 1):
            await connection.execute(store.sql(COPY))
        await store.create_indexes(connection)
        await connection.execute(store.sql("ANALYZE"))


def _paragraph(author: Author) -> str:
    """Write a heading and a list, as pages have them."""
    heading, *lines = author.lines(PARAGRAPH)
    return "\n".join([f"## {heading}", "", *(f"- **{line}**" for line in lines)])
