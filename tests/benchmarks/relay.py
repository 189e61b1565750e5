"""The relay against bare aiokafka, which has nothing to read and nothing to convert."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, LiteralString, NamedTuple
from unittest.mock import patch
from uuid import uuid4

import anyio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from eventsourcing.persistence import Notification, StoredEvent

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.relay import prepare_topics
from eventsourcing_kafka.producer.relay.publisher import BATCH_BYTES
from eventsourcing_kafka.producer.runtime.postgres import connected
from eventsourcing_kafka.producer.wire import Record, WireFormat
from tests.benchmarks.figures import Line, Marks, Sample, faster, sooner, within
from tests.benchmarks.servers import Environment, Program, World, relayed, seconds_since

EVENTS = 60_000
TRANSACTION = 2000
"""Records of one, at most: the relay's default."""
TIMES = 100
WARM_UP = 16
PARTITIONS = 8
"""Of the topics, by default: both sides send to them in turn."""
MANY = 128
"""Of a topic that is to have room to grow."""
EACH_HAS = 4 * MANY
ROUNDS = 4
"""The first of them is the broker's, to get warm: for whoever comes first it takes twice as long.
"""
MOST_MEGABYTES = 120.0
MOST_SECONDS_TO_FIRST = 1.0
SELECT_EVENTS: LiteralString = """
    SELECT notification_id, originator_id, originator_version, topic, state
      FROM contentmanagement_events
     WHERE notification_id > %s
     ORDER BY notification_id
     LIMIT %s
"""
STOCK_BACKOFF_SECONDS = 0.02
"""Bare is as aiokafka comes: what the relay sets in this process is not to help its own floor."""
Rows = Callable[[int], Awaitable[Sequence[Sequence[Any]]]]
"""Reads the rows after a position."""

PRODUCER = {"acks": "all", "compression_type": "zstd", "max_batch_size": BATCH_BYTES}


def throughput(world: World) -> Iterator[Line]:
    """Publish a backlog."""
    wiki = world.wiki(world.some(EVENTS))
    dsn, records = world.dsn(wiki), _records(wiki)
    # They are the floor's input, and ours: nobody is to look for garbage among them all the time.
    gc.collect()
    gc.freeze()
    anyio.run(_produced, wiki | world.apart(), records)
    anyio.run(relayed, wiki | world.apart())
    relay, sent, read_and_sent, batches = [], [], [], []
    for _ in world.repeats:
        relay.append(anyio.run(relayed, wiki | world.apart()).rate)
        sent.append(anyio.run(_produced, wiki | world.apart(), records).rate)
        read_and_sent.append(anyio.run(_read_and_produced, wiki | world.apart(), dsn, records).rate)
        batches.append(anyio.run(_produced_in_batches, wiki | world.apart(), records).rate)
    gc.unfreeze()
    read = [anyio.run(_read, dsn).rate for _ in world.repeats]
    rates = Sample(relay)
    yield faster("relay", rates, "bare aiokafka, send()", Sample(sent), 0.85)
    yield faster("relay", rates, "bare psycopg and bare aiokafka, send()", Sample(read_and_sent))
    yield faster("relay", rates, "bare aiokafka, batches made by hand", Sample(batches))
    yield faster("relay", rates, "bare psycopg, reading only", Sample(read))


def start(world: World) -> Iterator[Line]:
    """Start the relay's process before a backlog."""
    wiki = world.wiki(world.some(EVENTS))
    anyio.run(_started, wiki | world.apart(), world.size(wiki))
    firsts, peaks = [], []
    for _ in world.repeats:
        first, peak = anyio.run(_started, wiki | world.apart(), world.size(wiki))
        firsts.append(first)
        peaks.append(peak)
    yield within("relay, process start to first record", Sample(firsts), "s", MOST_SECONDS_TO_FIRST)
    yield within("relay, memory at most", Sample(peaks), "MB", MOST_MEGABYTES)


def latency(world: World) -> Iterator[Line]:
    """Publish events that come one at a time."""
    event, times = world.base[0], world.some(TIMES)
    rounds = [
        (
            Sample(anyio.run(_relay_times, world.empty_wiki(), event, times)),
            Sample(anyio.run(_bare_times, world.empty_wiki(), _record(event), times)),
        )
        for _ in range(ROUNDS)
    ]
    ours, bare = zip(*rounds[1:], strict=True)
    against = "one bare aiokafka transaction"
    yield sooner("relay, commit to readable, p50", ours, against, bare, 1.5)
    yield sooner("relay, commit to readable, p99", ours, against, bare, percent=99)


def many_partitions(world: World) -> Iterator[Line]:
    """Start, and publish events that come one at a time, over few partitions and over many.

    Each is looked through at a start, and is a part of the position record of each transaction.
    """
    counts = (PARTITIONS, MANY)
    rounds = [{number: _over(world, number) for number in counts} for _ in range(ROUNDS)][1:]
    firsts = {number: Sample(each[number].first for each in rounds) for number in counts}
    for number, first in firsts.items():
        what = f"relay over {number} partitions, process start to first record"
        yield within(what, first, "s", MOST_SECONDS_TO_FIRST)
    for number in counts:
        what = f"relay over {number} partitions, commit to readable, p50"
        ours, bare = zip(*((each[number].ours, each[number].bare) for each in rounds), strict=True)
        yield sooner(what, ours, f"one bare aiokafka transaction, over {number}", bare)


class Over(NamedTuple):
    """What was measured of a relay over some partitions."""

    first: float
    """Seconds to the first record."""
    ours: Sample
    bare: Sample
    """Milliseconds from commit to readable."""


def _over(world: World, partitions: int) -> Over:
    environment = world.empty_wiki() | {"KAFKA_TOPIC_PARTITIONS": str(partitions)}
    with ContentManagement(environment) as wiki:
        # Some in each partition, for the next start to look at.
        events = [_of_another(world.base[0], n % partitions, partitions) for n in range(EACH_HAS)]
        wiki.recorder.insert_events(events)
    anyio.run(relayed, environment)
    with ContentManagement(environment) as wiki:
        wiki.recorder.insert_events([_of_another(world.base[0], 0)])
    first, _ = anyio.run(_started, environment, EACH_HAS + 1)
    event, times = world.base[0], world.some(TIMES)
    ours = Sample(anyio.run(_relay_times, environment, event, times))
    bare = anyio.run(_bare_times, environment | world.apart(), _record(event), times)
    return Over(first, ours, Sample(bare))


def _records(wiki: Environment) -> list[Record]:
    """Return what the relay would write."""
    with ContentManagement(wiki) as application:
        wire = WireFormat.of(application)
        recorder = application.recorder
        return [wire.to_record(event) for event in recorder.select_notifications(1, 10_000_000)]


def _record(event: StoredEvent) -> Record:
    with ContentManagement() as application:
        wire = WireFormat.of(application)
        return wire.to_record(Notification(event.originator_id, 1, event.topic, event.state, id=1))


@asynccontextmanager
async def topic_of(environment: Environment) -> AsyncIterator[str]:
    """Make the topics that the relay would make."""
    settings = KafkaSettings.from_env(environment)
    topics = Topics.of("ContentManagement", settings)
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        await prepare_topics(admin, topics, settings)
    yield topics.events


@asynccontextmanager
async def producing(environment: Environment) -> AsyncIterator[AIOKafkaProducer]:
    client = KafkaSettings.from_env(environment).client()
    producer = AIOKafkaProducer(**client, **PRODUCER, transactional_id=uuid4().hex)
    with patch("aiokafka.producer.sender.BACKOFF_OVERRIDE", STOCK_BACKOFF_SECONDS):
        async with started(producer):
            yield producer


@asynccontextmanager
async def reading(environment: Environment, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """Read what is committed to a topic, from now on."""
    settings = KafkaSettings.from_env(environment)
    isolated = {"isolation_level": "read_committed", "enable_auto_commit": False}
    partitions = [TopicPartition(topic, number) for number in range(settings.topic_partitions)]
    async with started(AIOKafkaConsumer(**settings.client(), **isolated)) as consumer:
        consumer.assign(partitions)
        await consumer.seek_to_end()
        for partition in partitions:
            await consumer.position(partition)
        yield consumer


async def _produced(environment: Environment, records: Sequence[Record]) -> Marks:
    async with topic_of(environment) as topic, producing(environment) as producer:
        marks = Marks()
        for batch in _transactions(records):
            await _send(producer, topic, batch)
            marks.note(marks.events + len(batch))
    return marks


async def _read_and_produced(
    environment: Environment, dsn: str, records: Sequence[Record]
) -> Marks:
    """Read what the relay reads, and write what it writes; what lies between is there already."""
    async with (
        outbox_rows(dsn) as rows,
        topic_of(environment) as topic,
        producing(environment) as producer,
    ):
        marks = Marks()
        for batch in _transactions(records):
            await rows(marks.events)
            await _send(producer, topic, batch)
            marks.note(marks.events + len(batch))
    return marks


async def _send(producer: AIOKafkaProducer, topic: str, batch: Sequence[Record]) -> None:
    partitions = len(await producer.partitions_for(topic))
    async with producer.transaction():
        for key, value, headers, timestamp, *_ in batch:
            await producer.send(
                topic,
                value,
                key=key,
                partition=partition_of(key, partitions),
                timestamp_ms=timestamp,
                headers=headers,
            )


async def _produced_in_batches(environment: Environment, records: Sequence[Record]) -> Marks:
    partitions = KafkaSettings.from_env(environment).topic_partitions
    async with topic_of(environment) as topic, producing(environment) as producer:
        marks = Marks()
        for batch in _transactions(records):
            async with producer.transaction():
                for number in range(partitions):
                    mine = [r for r in batch if partition_of(r.key, partitions) == number]
                    await _send_batches(producer, topic, number, mine)
            marks.note(marks.events + len(batch))
    return marks


def _transactions(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    for begin in range(0, len(records), TRANSACTION):
        yield records[begin : begin + TRANSACTION]


async def _send_batches(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Record]
) -> None:
    batch = producer.create_batch()
    for key, value, headers, timestamp, *_ in records:
        record = {"key": key, "value": value, "headers": headers, "timestamp": timestamp}
        if batch.append(**record) is None:
            await producer.send_batch(batch, topic, partition=partition)
            batch = producer.create_batch()
            batch.append(**record)
    await producer.send_batch(batch, topic, partition=partition)


async def _read(dsn: str) -> Marks:
    """Read the rows that the relay reads."""
    marks = Marks()
    async with outbox_rows(dsn) as rows:
        while read := await rows(marks.events):
            marks.note(read[-1][0])
    return marks


@asynccontextmanager
async def outbox_rows(dsn: str) -> AsyncIterator[Rows]:
    """Connect to a wiki's database."""
    async with connected(conninfo=dsn) as connection:
        cursor = connection.cursor(binary=True)

        async def rows(after: int) -> Sequence[Sequence[Any]]:
            await cursor.execute(SELECT_EVENTS, [after, TRANSACTION], prepare=True)
            return await cursor.fetchall()

        yield rows


async def _started(environment: Environment, events: int) -> tuple[float, float]:
    """Return when the first record is there, and how much memory the relay takes in the end."""
    async with topic_of(environment) as topic, reading(environment, topic) as consumer:
        begin = time.perf_counter()
        with Program.started(environment, "eventsourcing_kafka", "producer", "relay") as relay:
            await some(consumer)
            first = seconds_since(begin)
            while await readable(consumer) < events:
                await anyio.sleep(0.02)
                relay.look()
    return first, relay.peak


async def some(consumer: AIOKafkaConsumer) -> int:
    """Wait for records, and return how many come."""
    with anyio.fail_after(30):
        while not (fetched := await consumer.getmany(timeout_ms=1000)):
            pass
    return sum(map(len, fetched.values()))


async def readable(consumer: AIOKafkaConsumer) -> int:
    """Return how many offsets are committed: records, and a few markers of transactions."""
    return sum((await consumer.end_offsets(consumer.assignment())).values())


async def _relay_times(environment: Environment, event: StoredEvent, times: int) -> list[float]:
    """Store one event after the other; return the milliseconds until it can be read."""
    took = []
    async with topic_of(environment) as topic, reading(environment, topic) as consumer:
        with (
            Program.started(environment, "eventsourcing_kafka", "producer", "relay"),
            ContentManagement(environment) as wiki,
        ):
            for number in range(times + WARM_UP):
                wiki.recorder.insert_events([_of_another(event, number % PARTITIONS)])
                begin = time.perf_counter()
                await some(consumer)
                took.append(seconds_since(begin) * 1000)
    return took[WARM_UP:]


async def _bare_times(environment: Environment, record: Record, times: int) -> list[float]:
    """Produce one record after the other; return the milliseconds until it can be read."""
    took = []
    async with (
        topic_of(environment) as topic,
        reading(environment, topic) as consumer,
        producing(environment) as producer,
    ):
        for number in range(times + WARM_UP):
            begin = time.perf_counter()
            async with producer.transaction():
                await producer.send(
                    topic, record.value, partition=number % PARTITIONS, key=record.key
                )
            await some(consumer)
            took.append(seconds_since(begin) * 1000)
    return took[WARM_UP:]


def _of_another(event: StoredEvent, partition: int, partitions: int = PARTITIONS) -> StoredEvent:
    """Return the same event, as the first of another aggregate that goes to a partition."""
    ids = (uuid4() for _ in count())
    mine = next(one for one in ids if partition_of(str(one).encode(), partitions) == partition)
    return StoredEvent(mine, 1, event.topic, event.state)
