"""From a command to the search: how long until the view has what a command has recorded."""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple
from uuid import UUID

import anyio
from anyio import to_thread
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking
from eventsourcing_kafka.consumer.unit_of_work import Place, UnitOfWork
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, Slug
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import partition_of
from tests.benchmarks.figures import Line, Sample, sooner
from tests.benchmarks.history import Author
from tests.benchmarks.relay import producing, reading, some, topic_of
from tests.benchmarks.servers import Environment, Program, World, seconds_since
from tests.benchmarks.views import SESSION

TIMES = 150
PAGES = 100
"""Edited in turn: a machine may stand still for a second, and no two edits of one conflict."""
BODY = 2000
"""Characters."""
COMMANDS_A_SECOND = 100
SECONDS = 4
WARM_UP = 20
QUICK_TO_SWITCH = 0.0005
"""Seconds that a thread with a command may keep the thread that watches waiting."""


class Command(NamedTuple):
    """A command that has returned."""

    page_id: UUID
    position: int
    at: float
    """When it returned: its events are committed."""


def searchable(world: World) -> Iterator[Line]:
    """Give commands one at a time, and then many."""
    times, seconds = world.some(TIMES), world.some(SECONDS * 10) / 10
    # For the broker, to get warm: for whoever comes first it takes twice as long.
    anyio.run(_bare, world.view(world.empty_wiki(), "FTS"), times)
    rounds = [
        (
            *anyio.run(_commands, world.view(world.empty_wiki(), "FTS"), times, seconds),
            Sample(anyio.run(_bare, world.view(world.empty_wiki(), "FTS"), times)),
        )
        for _ in world.repeats
    ]
    idle, busy, bare = zip(*rounds, strict=True)
    against = "one Kafka transaction and one Postgres commit, bare"
    yield sooner("command to searchable, p50", idle, against, bare, 1.5)
    yield sooner("command to searchable, p99", idle, against, bare, percent=99)
    what = f"command to searchable, under {COMMANDS_A_SECOND}/s"
    yield sooner(f"{what}, p50", busy, "the same, idle", idle)
    yield sooner(f"{what}, p99", busy, "the same, idle", idle, 3.0, percent=99)


class Watch:
    """Looks at the tracking whenever it moves."""

    def __init__(self, store: ViewStore, partitions: int) -> None:
        self._store = store
        self._partitions = partitions
        self._positions: dict[int, list[int]] = defaultdict(list)
        self._times: dict[int, list[float]] = defaultdict(list)
        self._moved = anyio.Event()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Take note of each position, and of when it was there."""
        async with self._store.connected() as connection:
            await self._store.prepare(connection, self._partitions)
            channel = sql.Identifier(self._store.tracking.channel)
            await connection.execute(sql.SQL("LISTEN {}").format(channel))
            task_status.started()
            while True:
                async for _ in connection.notifies(timeout=1, stop_after=1):
                    pass
                await self._look(connection)

    async def _look(self, connection: AsyncConnection[Any]) -> None:
        found = await self._store.tracking.read(connection, range(self._partitions))
        now = time.perf_counter()
        for number, tracking in found.items():
            if tracking.position > (self._positions[number] or [0])[-1]:
                self._positions[number].append(tracking.position)
                self._times[number].append(now)
        self._moved.set()
        self._moved = anyio.Event()

    def milliseconds(self, command: Command) -> float | None:
        """Return how long after the command its events were in the view; None if they are not."""
        number = partition_of(str(command.page_id).encode(), self._partitions)
        at = bisect_left(self._positions[number], command.position)
        times = self._times[number]
        return (times[at] - command.at) * 1000 if at < len(times) else None

    async def wait(self, command: Command) -> float:
        """Return that when they are."""
        with anyio.fail_after(30):
            while (found := self.milliseconds(command)) is None:
                await self._moved.wait()
        return found


class Editor:
    """Edits pages in turn."""

    def __init__(self, wiki: ContentManagement) -> None:
        self._wiki = wiki
        self._author = Author()
        self._pages = [self._author.lines(BODY) for _ in range(PAGES)]
        self._ids = [self._create(number) for number in range(PAGES)]

    def edit(self, number: int) -> Command:
        """Change a few lines of a page."""
        lines = self._pages[number % PAGES]
        self._author.change(lines)
        position = self._wiki.update_body(f"page-{number % PAGES}", "\n".join(lines))
        return Command(self._ids[number % PAGES], position, time.perf_counter())

    def _create(self, number: int) -> UUID:
        slug = f"page-{number}"
        self._wiki.create_page(slug, slug)
        self._wiki.update_body(slug, "\n".join(self._pages[number]))
        entry: Slug = self._wiki.repository.get(Slug.create_id(slug))
        assert entry.page_id is not None
        return entry.page_id


async def _commands(environment: Environment, times: int, seconds: float) -> tuple[Sample, Sample]:
    store = ViewStore.of(VIEW, environment)
    watch = Watch(store, KafkaSettings.from_env(environment).topic_partitions)
    with (
        _switching_quickly(),
        ContentManagement(environment) as wiki,
        Program.started(environment, "eventsourcing_kafka", "producer", "relay"),
        Program.started(environment, "eventsourcing_kafka", "consumer", "run", "fts"),
    ):
        async with anyio.create_task_group() as tasks:
            await tasks.start(watch.run)
            editor = Editor(wiki)
            idle = [await _one(editor, watch, number) for number in range(times + WARM_UP)]
            busy = await _many(editor, watch, int(seconds * COMMANDS_A_SECOND))
            tasks.cancel_scope.cancel()
    return Sample(idle[WARM_UP:]), Sample(busy)


async def _one(editor: Editor, watch: Watch, number: int) -> float:
    return await watch.wait(await to_thread.run_sync(editor.edit, number))


async def _many(editor: Editor, watch: Watch, count: int) -> list[float]:
    """Give a command whenever it is time for it, however long the others take."""
    done: list[Command] = []

    async def give(number: int) -> None:
        done.append(await to_thread.run_sync(editor.edit, number))

    begin = anyio.current_time()
    async with anyio.create_task_group() as commands:
        for number in range(count):
            await anyio.sleep_until(begin + number / COMMANDS_A_SECOND)
            commands.start_soon(give, number)
    return [await watch.wait(command) for command in done]


@contextmanager
def _switching_quickly() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(QUICK_TO_SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


async def _bare(environment: Environment, times: int) -> list[float]:
    """Carry one event after the other with the least that can be done; return milliseconds."""
    store = ViewStore.of(VIEW, environment)
    page = Page(title="page", slug="page", body="\n".join(Author().lines(BODY)))
    unit, value = _unit(store, page), page.body.encode()
    took = []
    async with (
        _view(store) as connection,
        topic_of(environment) as topic,
        reading(environment, topic) as consumer,
        producing(environment) as producer,
    ):
        for number in range(times + WARM_UP):
            begin = time.perf_counter()
            async with producer.transaction():
                await producer.send(topic, value, partition=0, key=page.id.bytes)
            await some(consumer)
            async with connection.transaction():
                await store.tracking.move(connection, [_move(number)])
                await unit.write(connection)
            took.append(seconds_since(begin) * 1000)
    return took[WARM_UP:]


@asynccontextmanager
async def _view(store: ViewStore) -> AsyncIterator[AsyncConnection[Any]]:
    async with store.connected(SESSION) as connection:
        await store.prepare(connection, 1)
        yield connection


def _unit(store: ViewStore, page: Page) -> UnitOfWork:
    """Return what writes one page."""
    unit = store.view.unit_of_work(store.schema)
    for event in page.collect_events():
        unit.apply(event, Place(0, 1))
    return unit


def _move(number: int) -> Move:
    return Move(Tracking(0, number, number), Tracking(0, number + 1, number + 1), 1)
