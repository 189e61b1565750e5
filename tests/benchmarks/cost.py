"""What events cost: the processor time of each part that carries them, and the bytes that are kept.

A machine of two cores says little about the rate of many. What an event costs each part is the same
there: `tests.benchmarks.capacity` reckons with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import anyio
import psycopg

from eventsourcing_kafka.consumer.views.registry import view_named
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from tests.benchmarks.figures import Line, Sample, reported
from tests.benchmarks.growth import Carried, applied, published
from tests.benchmarks.servers import Environment, Spent, World, relayed

EVENTS = 100_000
VIEWS = ("activity", "fts")
CPU = "CPU s of 100,000 events"
BYTES = "bytes of an event"

SELECT_DATABASE_SIZE: LiteralString = "SELECT pg_database_size(current_database())"
SELECT_EVENTS_SIZE: LiteralString = "SELECT pg_total_relation_size('contentmanagement_events')"


def cost(world: World) -> Iterator[Line]:
    """Publish events, and apply them to two views."""
    wiki = world.wiki(world.some(EVENTS))
    size = world.size(wiki)
    yield reported("kept in the write model", _bytes(world, wiki, SELECT_EVENTS_SIZE, size), BYTES)
    environment = wiki | world.apart()
    before = world.spent()
    relay = anyio.run(published, environment, size)
    yield from _spent("publishing", "relay", relay, before, world.spent(), size)
    anyio.run(relayed, environment)  # Whatever the relay had left when it was stopped.
    topic = Topics.of("ContentManagement", KafkaSettings.from_env(environment)).events
    yield reported("kept in Kafka, in one replica", Sample([world.kept(topic) / size]), BYTES)
    for name in VIEWS:
        settings = world.view(environment, name.upper())
        before = world.spent()
        consumer = anyio.run(applied, view_named(name), settings, size, 1)
        yield from _spent(name, "consumer", consumer, before, world.spent(), size)
        kept = _bytes(world, settings, SELECT_DATABASE_SIZE, size, name.upper())
        yield reported(f"kept in {name}", kept, BYTES)


def _spent(
    what: str, whose: str, carried: Carried, before: Spent, after: Spent, events: int
) -> Iterator[Line]:
    parts = {
        whose: carried.spent,
        "broker": after.broker - before.broker,
        "database": after.database - before.database,
    }
    for part, seconds in parts.items():
        yield reported(f"{what}, {part}", Sample([seconds / events * 100_000]), CPU)


def _bytes(
    world: World,
    environment: Environment,
    statement: LiteralString,
    events: int,
    name: str = "CONTENTMANAGEMENT",
) -> Sample:
    with psycopg.connect(world.dsn(environment, name)) as connection:
        (found,) = connection.execute(statement).fetchone() or (0,)
    return Sample([found / events])
