"""How cost grows: with the backlog, the body, the edits of a page, the consumers, the partitions.

Relay and consumers run as processes of their own here.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import anyio
from psycopg import AsyncConnection

from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.unit_of_work import Place
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.fts import VIEW as FTS
from eventsourcing_kafka.consumer.views.registry import view_named
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from tests.benchmarks.figures import Line, Marks, Point, Sample, faster, reported, within
from tests.benchmarks.history import Author
from tests.benchmarks.relay import readable, reading, topic_of
from tests.benchmarks.servers import Environment, Program, World, relayed, seconds_since
from tests.benchmarks.views import SESSION

BACKLOGS = (10_000, 100_000, 1_000_000)
LONG = 10_000_000
MOST_APPLIED = {"activity": LONG, "fts": 100_000}
"""The search view takes its time to make out words."""
BEGINS = {"relay": "publishing after", "consumer": "reading "}
"""What they log when their work begins: what comes before is their start, whatever the backlog."""
REPEATED = 2
"""So often the smallest backlog is carried each time: it is gone in less than a second."""
BODIES = (1_000, 10_000, 100_000, 1_000_000)
EDITS = (10, 100, 1_000, 10_000)
CONSUMERS = (2, 4)
PARTITIONS = (1, 8, 32)
USUAL = 8
SHARED = 100_000
"""Events that several consumers share, and that are in so many partitions."""
TIMES = 20
MOST_MEGABYTES = 200 * 1.048576
LARGE = {"MAX_BODY_BYTES": "4000000", "MAX_DIFF_BYTES": "9000000"}


class Carried(NamedTuple):
    """How a backlog was carried."""

    rate: float
    """Events per second."""
    megabytes: float
    """Of the process; of the largest, if there were more."""
    spent: float
    """Seconds of processor time, of all, since they began to work."""


def backlog(world: World) -> Iterator[Line]:
    """Publish and apply backlogs of any size: as many events per second, in as little memory."""
    sizes = [world.some(events) for events in (*BACKLOGS, *([LONG] if world.long else ()))]
    carried: dict[str, dict[int, list[Carried]]] = defaultdict(lambda: defaultdict(list))
    # There and back: minutes of work make the machine itself slower, whatever is left to do.
    for events in (*sizes, *reversed(sizes[:-1])):
        for name, measured in _carried(world, events):
            carried[name][events].append(measured)
    for name, by_size in carried.items():
        yield from _grown(name, by_size)
        worst = Sample([max(each.megabytes for some in by_size.values() for each in some)])
        yield within(f"{name}, memory with any backlog", worst, "MB", MOST_MEGABYTES)


def partitions(world: World) -> Iterator[Line]:
    """Catch up with other numbers of partitions, and of consumers."""
    events = world.some(SHARED)
    alone = {number: _shared(world, world.published(events, number), 1) for number in PARTITIONS}
    for number, rate in alone.items():
        line = reported(f"fts, {number} partitions", rate, "events/s")
        yield line._replace(point=Point("partitions", "fts", number))
    shared = {count: _shared(world, world.published(events), count) for count in CONSUMERS}
    for count, rate in {1: alone[USUAL], **shared}.items():
        line = reported(f"fts, {count} consumers", rate, "events/s")
        yield line._replace(point=Point("consumers", "fts", count))


def edits(world: World) -> Iterator[Line]:
    """Edit one page: of any size, and any number of times."""
    for size in BODIES:
        took = _edits(world, size, 1)
        for who, sample in took.items():
            line = reported(f"one edit of {size:,} characters, {who}", sample, "ms")
            yield line._replace(point=Point("body", who, size))
    for number in (n for n in EDITS if n <= world.some(EDITS[-1])):
        took = _edits(world, 1_000, number)
        for who, sample in took.items():
            line = reported(f"one edit after {number:,} of a page, {who}", sample, "ms")
            yield line._replace(point=Point("edits", who, number))


def _carried(world: World, events: int) -> Iterator[tuple[str, Carried]]:
    """Carry a backlog into Kafka and into the views."""
    wiki = world.small_wiki(events)
    size = world.size(wiki)
    for _ in range(REPEATED if events == world.some(BACKLOGS[0]) else 1):
        environment = wiki | world.apart()
        yield "relay", anyio.run(published, environment, size)
        anyio.run(relayed, environment)  # Whatever the relay had left when it was stopped.
        for view, most in MOST_APPLIED.items():
            if events <= world.some(most):
                settings = world.view(environment, view.upper())
                yield view, anyio.run(applied, view_named(view), settings, size, 1)


def _shared(world: World, published: Environment, consumers: int) -> Sample:
    """Have some consumers catch up the search view; return their events per second."""
    environment = world.view(published, "FTS")
    measured = anyio.run(applied, FTS, environment, world.size(published), consumers)
    return Sample([measured.rate])


def _edits(world: World, size: int, before: int) -> dict[str, Sample]:
    command, view = anyio.run(_edited, world.view(world.empty_wiki(), "FTS"), size, before)
    return {"the command": command, "the view": view}


def _grown(name: str, by_size: Mapping[int, Sequence[Carried]]) -> Iterator[Line]:
    """Compare each with the best of the smaller ones: flat within 15 %."""
    best: Sample | None = None
    for events, measured in by_size.items():
        what = f"{name}, {events:,} events"
        rates = Sample(each.rate for each in measured)
        compared = (
            faster(what, rates, "the best smaller backlog", best, 0.85)
            if best
            else reported(what, rates, "events/s")
        )
        best = max(filter(None, (best, rates)), key=lambda sample: sample.median)
        peak = Sample([max(each.megabytes for each in measured)])
        memory = reported(f"{name}, memory, {events:,} events", peak, "MB")
        yield compared._replace(point=Point("backlog", name, events))
        yield memory._replace(point=Point("memory", name, events))


async def published(environment: Environment, events: int) -> Carried:
    """Measure the relay."""
    async with topic_of(environment) as topic, reading(environment, topic) as consumer:
        with Program.started(environment, "eventsourcing_kafka", "producer", "relay") as relay:
            await relay.until(lambda: relay.has_said(BEGINS["relay"]))
            marks, before = Marks(), relay.spent
            while marks.events < events:
                await anyio.sleep(0.02)
                marks.note(await readable(consumer))
                relay.look()
            return Carried(marks.whole_rate, relay.peak, relay.spent - before)


async def applied(view: View, environment: Environment, events: int, consumers: int) -> Carried:
    """Measure so many consumers."""
    store = ViewStore.of(view, environment)
    async with store.connected() as connection:
        await store.prepare(connection, KafkaSettings.from_env(environment).topic_partitions)
        with ExitStack() as running:
            programs = [
                running.enter_context(
                    Program.started(
                        environment, "eventsourcing_kafka", "consumer", "run", view.name
                    )
                )
                for _ in range(consumers)
            ]
            # None begins before all of them are there: the first would have done half of it alone.
            async with connection.transaction():
                await store.tracking.hold(connection)
                for program in programs:
                    await program.until(partial(program.has_said, BEGINS["consumer"]))
            marks, before = Marks(), sum(program.spent for program in programs)
            while marks.events < events:
                await anyio.sleep(0.02)
                marks.note(sum(row.records for row in await store.tracking.progress(connection)))
                for program in programs:
                    program.look()
            spent = sum(program.spent for program in programs) - before
    return Carried(marks.whole_rate, max(program.peak for program in programs), spent)


async def _edited(environment: Environment, size: int, before: int) -> tuple[Sample, Sample]:
    """Return the milliseconds that an edit takes the command, and the view."""
    author = Author()
    lines = author.lines(size)
    store = ViewStore.of(FTS, environment)
    commands, views = [], []
    with ContentManagement(environment | LARGE) as wiki:
        _edit_before(wiki, lines, author, before)
        for _ in range(TIMES):
            begin = time.perf_counter()
            wiki.update_body("page", "\n".join(lines))
            commands.append(seconds_since(begin) * 1000)
            author.change(lines)
        events = _page_events(wiki)
    async with store.connected(SESSION) as connection:
        await store.prepare(connection, 1)
        await _apply(store, connection, events[:-TIMES])
        for event in events[-TIMES:]:
            begin = time.perf_counter()
            await _apply(store, connection, [event])
            views.append(seconds_since(begin) * 1000)
    return Sample(commands), Sample(views)


def _edit_before(wiki: ContentManagement, lines: list[str], author: Author, times: int) -> None:
    """Make a page, and edit it so often, without a command for each."""
    wiki.create_page("page", "page")
    page = wiki._get_page_by_slug("page")
    for _ in range(times):
        page.update_body("\n".join(lines), wiki.limits)
        author.change(lines)
    wiki.events.put(page.collect_events())
    wiki.take_snapshot(page.id)


async def _apply(
    store: ViewStore, connection: AsyncConnection[Any], events: Sequence[Page.Event]
) -> None:
    async with connection.transaction():
        unit = store.view.unit_of_work(store.schema)
        await unit.read(connection, [str(event.originator_id) for event in events], events)
        for event in events:
            unit.apply(event, Place(0, event.originator_version))
        await unit.write(connection)


def _page_events(wiki: ContentManagement) -> list[Page.Event]:
    notifications = wiki.recorder.select_notifications(1, 1_000_000)
    events = (wiki.mapper.to_domain_event(notification) for notification in notifications)
    return [event for event in events if isinstance(event, Page.Event)]
