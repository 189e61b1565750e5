"""How cost grows: with the backlog, the body, the edits of a page, the consumers, the partitions.

Relay and consumers run as processes of their own here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import anyio

from consumer.activity import VIEW as ACTIVITY
from consumer.fts import VIEW as FTS
from consumer.store import ViewStore
from consumer.unit_of_work import Place
from consumer.view import View
from producer.contentmanagement.application import ContentManagement
from producer.contentmanagement.domainmodel import Page
from producer.wire import KafkaSettings
from tests.bench.figures import Line, Marks, Sample, faster, reported, within
from tests.bench.history import Author
from tests.bench.relay import readable, reading, topic_of
from tests.bench.servers import Environment, Program, World, seconds_since
from tests.bench.views import SESSION

BACKLOGS = (10_000, 100_000, 1_000_000)
SEARCH_BACKLOGS = (10_000, 50_000)
BODIES = (1_000, 10_000, 100_000, 1_000_000)
EDITS = (10, 100, 1_000, 10_000)
CONSUMERS = (1, 2, 4)
PARTITIONS = (1, 4, 8, 32)
SHARED = 20_000
"""Events that several consumers share, and that are in so many partitions."""
TIMES = 20
MOST_MEGABYTES = 200 * 1.048576
LARGE = {"MAX_BODY_BYTES": "4000000", "MAX_DIFF_BYTES": "9000000"}


def backlog(world: World) -> Iterator[Line]:
    """Publish and apply backlogs of any size: as many events per second, in as little memory."""
    yield from _relays(world)
    yield from _consumers(world, ACTIVITY, BACKLOGS)
    yield from _consumers(world, FTS, SEARCH_BACKLOGS)


def partitions(world: World) -> Iterator[Line]:
    """Catch up with other numbers of partitions, and of consumers."""
    events = world.some(SHARED)
    for number in PARTITIONS:
        published = world.published(events, number)
        rate, _ = anyio.run(_applied, FTS, world.view(published, "FTS"), world.size(published), 1)
        yield reported(f"fts, {number} partitions", Sample([rate]), "events/s")
    for count in CONSUMERS:
        published = world.published(events)
        rate, _ = anyio.run(
            _applied, FTS, world.view(published, "FTS"), world.size(published), count
        )
        yield reported(f"fts, {count} consumers", Sample([rate]), "events/s")


def edits(world: World) -> Iterator[Line]:
    """Edit one page: of any size, and any number of times."""
    for size in BODIES:
        command, view = anyio.run(_edited, world.view(world.empty_wiki(), "FTS"), size, 1)
        yield reported(f"one edit of {size:,} characters, the command", command, "ms")
        yield reported(f"one edit of {size:,} characters, the view", view, "ms")
    for number in (n for n in EDITS if n <= world.some(EDITS[-1])):
        command, _ = anyio.run(_edited, world.view(world.empty_wiki(), "FTS"), 1_000, number)
        yield reported(f"one edit after {number:,} of a page, the command", command, "ms")


def _relays(world: World) -> Iterator[Line]:
    rates, peak = [], 0.0
    for events in map(world.some, BACKLOGS):
        wiki = world.wiki(events) | world.apart()
        rate, memory = anyio.run(_published, wiki, world.size(wiki))
        rates.append(rate)
        peak = max(peak, memory)
        yield _grown(f"relay, {events:,} events", rates)
    yield within("relay, memory with any backlog", Sample([peak]), "MB", MOST_MEGABYTES)


def _consumers(world: World, view: View, backlogs: Sequence[int]) -> Iterator[Line]:
    rates, peak = [], 0.0
    for events in map(world.some, backlogs):
        published = world.published(events)
        environment = world.view(published, view.name.upper())
        rate, memory = anyio.run(_applied, view, environment, world.size(published), 1)
        rates.append(rate)
        peak = max(peak, memory)
        yield _grown(f"{view.name}, {events:,} events", rates)
    yield within(f"{view.name}, memory with any backlog", Sample([peak]), "MB", MOST_MEGABYTES)


def _grown(what: str, rates: Sequence[float]) -> Line:
    """Compare with the best of the smaller ones: flat within 15 %.

    Not with the smallest: it is gone before it has got going, and anything would be better.
    """
    if len(rates) == 1:
        return reported(what, Sample(rates), "events/s")
    return faster(
        what, Sample(rates[-1:]), "the best smaller backlog", Sample([max(rates[:-1])]), 0.85
    )


async def _published(environment: Environment, events: int) -> tuple[float, float]:
    """Return the relay's events per second, and its memory in MB."""
    async with topic_of(environment) as topic, reading(environment, topic) as consumer:
        with Program.started(environment, "producer", "relay") as relay:
            marks = Marks()
            while marks.events < events:
                await anyio.sleep(0.02)
                marks.note(await readable(consumer))
                relay.look()
    return marks.rate, relay.peak


async def _applied(
    view: View, environment: Environment, events: int, consumers: int
) -> tuple[float, float]:
    """Return the events per second of so many consumers, and the memory of the largest in MB."""
    store = ViewStore.of(view, environment)
    async with store.connected() as connection:
        await store.prepare(connection, KafkaSettings.from_env(environment).topic_partitions)
        with ExitStack() as running:
            programs = [
                running.enter_context(Program.started(environment, "consumer", "run", view.name))
                for _ in range(consumers)
            ]
            marks = Marks()
            while marks.events < events:
                await anyio.sleep(0.02)
                marks.note(sum(row.records for row in await store.tracking.progress(connection)))
                for program in programs:
                    program.look()
    return marks.rate, max(program.peak for program in programs)


async def _edited(environment: Environment, size: int, before: int) -> tuple[Sample, Sample]:
    """Return the milliseconds that an edit takes the command, and the view."""
    author = Author()
    lines = author.lines(size)
    store = ViewStore.of(FTS, environment)
    commands, views = [], []
    with ContentManagement(environment | LARGE) as wiki:
        wiki.create_page("page", "page")
        for number in range(before + TIMES):
            begin = time.perf_counter()
            position = wiki.update_body("page", "\n".join(lines))
            if number >= before:
                commands.append(seconds_since(begin) * 1000)
            author.change(lines)
        assert position
        events = _page_events(wiki)
    async with store.connected(SESSION) as connection:
        await store.prepare(connection, 1)
        for event in events:
            begin = time.perf_counter()
            async with connection.transaction():
                unit = store.view.unit_of_work(store.schema)
                await unit.read(connection, [str(event.originator_id)], [event])
                unit.apply(event, Place(0, event.originator_version))
                await unit.write(connection)
            views.append(seconds_since(begin) * 1000)
    return Sample(commands), Sample(views[-TIMES:])


def _page_events(wiki: ContentManagement) -> list[Page.Event]:
    notifications = wiki.recorder.select_notifications(1, 1_000_000)
    events = (wiki.mapper.to_domain_event(notification) for notification in notifications)
    return [event for event in events if isinstance(event, Page.Event)]
