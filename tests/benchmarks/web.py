"""The wiki in a browser, under load: how long a page, and a search, take with 100,000 pages.

The load comes over loopback, from a process of its own, which takes a little of the two processors
that the wiki and Postgres have. The visitor is signed in, and has written something.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import product
from typing import Any, LiteralString
from urllib.parse import quote
from uuid import UUID, uuid4

import anyio
import httpx2
import itsdangerous
import msgspec
import psycopg
from eventsourcing.utils import get_topic
from psycopg import sql

from eventsourcing_kafka.compose.servers.processes import HOST, free_port
from eventsourcing_kafka.compose.web.settings import DEVELOPER
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.activity import VIEW as ACTIVITY
from eventsourcing_kafka.consumer.views.fts import VIEW as FTS
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, Slug
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from tests.benchmarks.figures import Line, Sample, faster, reported, within
from tests.benchmarks.history import COPY_EVENTS, SEED, Author, row_of
from tests.benchmarks.load import Load, Took
from tests.benchmarks.search import PAGES, large_view
from tests.benchmarks.servers import ROOT, Environment, Program, World, relayed
from tests.benchmarks.views import EVENTS, Marked, caught_up
from tests.web.browser import TOKEN

MOST_MILLISECONDS = 50.0
SECONDS = 6
LEAST_SECONDS = 0.3
PATHS = 2000
SECRET = "a secret that is only of the benchmarks"
PATIENCE = 60.0

TRACK: LiteralString = """
    INSERT INTO {schema}.tracking (application, partition, position, next_offset, shape)
    SELECT application, max(partition) + 1, 0, 0, shape
      FROM {schema}.tracking
     GROUP BY application, shape
"""

LOAD = [sys.executable, "-m", "tests.benchmarks.load"]
WINDOWS = 2

RATES = {"a page": 50.0, "a search": 15.0}
"""Requests a second."""
CLIENTS = {"a page": 4, "a search": 2}
"""Each asks again as soon as it has an answer."""


def web(world: World) -> Iterator[Line]:
    """Ask for pages and for searches, at a fixed rate, and as fast as some clients can."""
    environment = world.view(world.view(large_view(world), "CONTENTMANAGEMENT"), "ACTIVITY")
    slugs = _written(world, environment)
    anyio.run(_prepared, environment)
    anyio.run(_tracked, environment)
    paths = {"a page": _pages(slugs), "a search": _searches(world)}
    with _served(environment) as port:
        for what, asked in paths.items():
            for clients, rate in ((CLIENTS[what], None), (16, RATES[what])):
                load = Load(port, asked, clients, rate, max(LEAST_SECONDS, SECONDS * world.scale))
                took = _load(msgspec.structs.replace(load, cookie=_cookie(port)))
                how = f"{rate:.0f} a second" if rate else f"{clients} clients"
                p95 = Sample([Sample(took.milliseconds).percentile(95)])
                named = f"web, {what} of {world.some(PAGES):,}, {how}"
                yield within(f"{named}, p95", p95, "ms", MOST_MILLISECONDS)
                if not rate:
                    answers = Sample([len(took.milliseconds) / took.seconds])
                    yield reported(named, answers, "requests/s")


def window(world: World) -> Iterator[Line]:
    """Publish and catch up, with the wiki served and windows open on it, and without."""
    relays: dict[bool, list[float]] = {False: [], True: []}
    views: dict[bool, list[float]] = {False: [], True: []}
    for _, watched in product(world.repeats, (False, True)):
        pipeline = {**world.wiki(world.some(EVENTS)), **world.apart()}
        environment = world.view(world.view(pipeline, "FTS"), "ACTIVITY")
        with _watched(environment) if watched else nullcontext():
            relays[watched].append(anyio.run(relayed, environment).rate)
            applied = anyio.run(caught_up, Marked, environment, world.size(environment), FTS)
            views[watched].append(applied.marks.rate)
    for what, rates in {"relay": relays, "fts, catching up": views}.items():
        beside = f"{what}, with {WINDOWS} windows open"
        yield faster(beside, Sample(rates[True]), "the same, alone", Sample(rates[False]))


def _pages(slugs: Sequence[str]) -> list[str]:
    chance = random.Random(SEED)
    return [f"/wiki/{quote(slug, safe='')}" for slug in chance.choices(slugs, k=PATHS)]


def _searches(world: World) -> list[str]:
    words = Author().ordinary_words(PATHS)
    return [f"/search?q={quote(word)}" for word in words]


def _written(world: World, environment: Environment) -> list[str]:
    """Give the write model the pages that the view has; return their slugs."""
    ContentManagement(environment).close()
    slugs = []
    select = sql.SQL("SELECT id, slug, title, body FROM {}.pages WHERE slug LIKE 'other-%'")
    with (
        ContentManagement() as wiki,
        psycopg.connect(world.dsn(environment, "FTS")) as view,
        psycopg.connect(world.dsn(environment), autocommit=True) as model,
    ):
        with view.cursor("pages") as rows, model.cursor() as cursor, cursor.copy(COPY_EVENTS) as to:
            rows.execute(select.format(sql.Identifier(FTS.name)))
            for number, (page_id, slug, title, body) in enumerate(rows, start=1):
                slugs.append(slug)
                texts = {"slug": slug, "title": title, "body": body}
                events: list[Any] = [
                    wiki.page_log.trigger_event(number, page_id=page_id),
                    *Slug(slug, page_id=page_id).collect_events(),
                    _created(page_id, texts),
                ]
                for stored in map(wiki.mapper.to_stored_event, events):
                    to.write_row(row_of(stored))
        model.execute("VACUUM ANALYZE contentmanagement_events")
    return slugs


def _created(page_id: UUID, texts: Mapping[str, Any]) -> Page.Created:
    return Page.Created(
        originator_topic=get_topic(Page),
        originator_id=page_id,
        originator_version=1,
        timestamp=Page.Created.create_timestamp(),
        **texts,
    )


async def _tracked(environment: Environment) -> None:
    """Have a tracking of the partition that the pages are of, which no topic has."""
    store = ViewStore.of(FTS, environment)
    async with store.connected() as connection:
        await connection.execute(store.sql(TRACK))


async def _prepared(environment: Environment) -> None:
    """Have the view that tells what changed last, and who has: there is nothing in it."""
    store = ViewStore.of(ACTIVITY, environment)
    async with store.connected() as connection:
        await store.prepare(connection, KafkaSettings.from_env(environment).topic_partitions)


@contextmanager
def _served(environment: Environment) -> Iterator[int]:
    """Serve the wiki as its command does; yield the port."""
    port = free_port()
    settings = {**environment, "WEB_SECRET": SECRET, "WEB_RATES": "off"}
    with Program.started(settings, "eventsourcing_kafka", "compose", "web", "--port", str(port)):
        _answers(port)
        yield port


@contextmanager
def _watched(environment: Environment) -> Iterator[None]:
    """Serve the wiki, and look at its window meanwhile."""
    anyio.run(_prepared, environment)
    with _served(environment) as port:
        load = Load(port, [], 0, None, PATIENCE, _cookie(port), WINDOWS)
        process = subprocess.Popen(LOAD, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert process.stdin
        with process.stdin as to:
            to.write(msgspec.json.encode(load))
        try:
            yield
            assert process.poll() is None, "nobody looked"
        finally:
            process.kill()
            process.wait()


def _answers(port: int) -> None:
    deadline = time.perf_counter() + PATIENCE
    while True:
        try:
            httpx2.get(f"http://{HOST}:{port}/").raise_for_status()
        except httpx2.HTTPError:
            if time.perf_counter() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _cookie(port: int) -> str:
    """Sign in, and return the session of somebody who has also written what the views have."""
    with httpx2.Client(base_url=f"http://{HOST}:{port}") as browser:
        (token,) = set(TOKEN.findall(browser.get("/sign-in").text))
        browser.post("/sign-in", data={"token": token, "name": DEVELOPER})
        signed = browser.cookies["wiki"]
    signer = itsdangerous.TimestampSigner(SECRET)
    session = {**json.loads(b64decode(signer.unsign(signed))), "wrote": [0, str(uuid4())]}
    return f"wiki={signer.sign(b64encode(json.dumps(session).encode())).decode()}"


def _load(load: Load) -> Took:
    done = subprocess.run(
        LOAD,
        cwd=ROOT,
        input=msgspec.json.encode(load),
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Took)
