"""How far a view is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from math import inf
from typing import Any

import anyio
import msgspec
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.search import ChainSearch
from eventsourcing_kafka.consumer.engine.store import (
    NOT_THERE,
    PartitionsChangedError,
    ShapeChangedError,
    group_of,
    replayable,
)
from eventsourcing_kafka.consumer.engine.tracking import Tracking, TrackingProgress
from eventsourcing_kafka.producer.kafka.clients import groupless_consumer
from eventsourcing_kafka.producer.kafka.groups import owners_of
from eventsourcing_kafka.producer.kafka.ranges import Bounds
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partitions_of
from eventsourcing_kafka.producer.wire.position import Said, read_published

POLL_MS = 50
LAG_SECONDS = 10.0


class PartitionStatus(msgspec.Struct, frozen=True):
    """How far a view is in one partition."""

    view: str
    partition: int
    position: int
    """The highest position applied."""
    offset: int
    """The Kafka offset to go on from; an estimate while it reads the write model."""
    head: int
    """The last stable offset: what lies before it is committed in Kafka."""
    gap: int | None
    """Offsets between the two: records, and transaction markers. None if it can't be known: what is
    applied last is not where it was, or it is deleted and nothing has come since."""
    lag_seconds: float
    """The age of the oldest record not applied; 0 when there is none. Infinite, in JSON null, while
    it reads from the write model: that is older than what Kafka has."""
    records: int
    """How many records the view has taken in."""
    parked: int
    """Events set aside, of all time and not yet retried or dropped."""
    dropped: int
    """Offsets given up for ever: dropped events, and what an operator had the view skip."""
    stopped: str | None
    """Why the partition stopped, if it did."""
    owner: str | None
    """The member of the group that has the partition, and its host; None if nobody has it."""
    rebuild_offset: int | None
    """The offset that a generation being rebuilt has come to; None without one."""
    from_write_model: bool = False
    """Whether it reads from the write model what Kafka has deleted. Its gap is an estimate then."""
    has_run: bool = True
    """Whether a consumer has ever made ready what the view is kept in."""

    @property
    def rebuild_gap(self) -> int | None:
        """Offsets that a generation being rebuilt is behind; None without one."""
        return None if self.rebuild_offset is None else max(0, self.head - self.rebuild_offset)


def never_run(rows: Collection[PartitionStatus]) -> Collection[str]:
    """Return the views that no consumer has ever made ready, though events are published."""
    return list(dict.fromkeys(row.view for row in rows if row.head and not row.has_run))


def gap_of(rows: Collection[PartitionStatus]) -> int | None:
    """Return the gap of all partitions together; None if that of one is not known."""
    gaps = [row.gap for row in rows if row.gap is not None]
    return sum(gaps) if len(gaps) == len(rows) else None


async def read_status(store: Store, settings: KafkaSettings) -> list[PartitionStatus]:
    """Compare the tracking of a view with the topic; nothing if there is neither yet.

    Where a view has applied what is no longer there, its partitions have stopped. Raises
    `ShapeChangedError`, and `PartitionsChangedError` if it is not the topic that is tracked.
    """
    async with groupless_consumer(settings) as kafka:
        ends = await _ends(kafka, store, settings)
        if not ends:
            return await _without_topic(store, settings)
        progress, rebuilt, has_run = await _progress(store, [each.partition for each in ends])
        if len(progress) != len(ends):
            raise PartitionsChangedError(store.view, len(ends))
        owners = await owners_of(group_of(store, settings), settings)
        topics = Topics.of(store.view.application_name, settings)
        reader = ChainSearch(kafka, topics, store.view.wire(), len(progress))
        bounds = await reader.bounds(progress)
        said = await reader.said(progress)
        tracked = {number: row.tracking for number, row in progress.items()}
        unknown = await _unknown(reader, tracked, bounds, said)
        offsets = offsets_of(tracked, said)
        # Of what is to come from the write model, Kafka has the first at its beginning.
        at = {
            each: max(tracked[each.partition].offset, bounds[each.partition].begin) for each in ends
        }
        lags = await _lags(kafka, at, ends)
        rebuild_offsets = offsets_of(rebuilt, said)
        return [
            PartitionStatus(
                store.view.name,
                partition.partition,
                row.tracking.position,
                offsets[partition.partition],
                end,
                None
                if partition.partition in unknown
                else 0
                if _has_all(row.tracking, bounds[partition.partition], said)
                else max(0, end - offsets[partition.partition]),
                inf if row.tracking.is_in_write_model else lags.get(partition, 0.0),
                row.records,
                row.parked,
                row.dropped,
                row.stopped,
                owners.get(partition),
                rebuild_offsets.get(partition.partition),
                row.tracking.is_in_write_model,
                has_run,
            )
            for partition, end in sorted(ends.items())
            for row in [progress[partition.partition]]
        ]


async def read_ends(store: Store, settings: KafkaSettings) -> dict[int, int]:
    """Return the last stable offset of each partition; nothing if there is no topic yet."""
    async with groupless_consumer(settings) as kafka:
        ends = await _ends(kafka, store, settings)
        return {partition.partition: end for partition, end in ends.items()}


async def read_said(store: Store, settings: KafkaSettings) -> Mapping[int, Said]:
    """Return what the last position record says of each partition; nothing if there is none."""
    topics = Topics.of(store.view.application_name, settings)
    published = await read_published(topics, settings)
    return dict(enumerate(published.said)) if published else {}


async def _ends(
    kafka: AIOKafkaConsumer, store: Store, settings: KafkaSettings
) -> dict[TopicPartition, int]:
    topic = Topics.of(store.view.application_name, settings).events
    numbers = range(await partitions_of(topic, settings))
    ends: dict[TopicPartition, int] = await kafka.end_offsets(
        [TopicPartition(topic, number) for number in numbers]
    )
    return ends


def offsets_of(trackings: Mapping[int, Tracking], said: Mapping[int, Said]) -> Mapping[int, int]:
    """Return the offsets that partitions are at; about, where the write model is read."""
    return {
        number: max(0, said[number].about(seen.position) if number in said else 0)
        if seen.is_in_write_model
        else seen.offset
        for number, seen in trackings.items()
    }


async def _unknown(
    reader: ChainSearch,
    tracked: Mapping[int, Tracking],
    bounds: Mapping[int, Bounds],
    said: Mapping[int, Said],
) -> Collection[int]:
    """Return the partitions of which nobody can tell how far the view is behind.

    Of one that has deleted what is applied last, what comes next will tell, or the position record.
    """
    in_kafka = [seen for seen in tracked.values() if not seen.is_in_write_model]
    return [
        number
        for number in await reader.lost(in_kafka, bounds)
        if not _is_deleted(tracked[number], bounds[number], said)
    ]


def _is_deleted(seen: Tracking, bounds: Bounds, said: Mapping[int, Said]) -> bool:
    """Tell whether what is applied last is deleted, and it is known what comes after it."""
    return seen.record_offset < bounds.begin and (
        bounds.begin <= seen.offset < bounds.end or _has_all(seen, bounds, said)
    )


def _has_all(seen: Tracking, bounds: Bounds, said: Mapping[int, Said]) -> bool:
    """Tell whether what is applied last is deleted, and was the last that is published.

    The end of a transaction that came after it may be left in Kafka, and nothing else.
    """
    last = said.get(seen.partition)
    return seen.record_offset < bounds.begin and last is not None and last.link == seen.link


async def _without_topic(store: Store, settings: KafkaSettings) -> list[PartitionStatus]:
    """Return how far a view is, though Kafka has no topic for it."""
    topic = Topics.of(store.view.application_name, settings).events
    why = f"Kafka has no topic {topic}. Was it deleted, or is KAFKA_TOPIC_PREFIX another one?"
    progress, _, _ = await _progress(store, [])
    return [
        PartitionStatus(
            store.view.name,
            number,
            row.tracking.position,
            max(0, row.tracking.offset),
            0,
            None if row.tracking.position else 0,
            0.0,
            row.records,
            row.parked,
            row.dropped,
            why if row.tracking.position else None,
            None,
            None,
        )
        for number, row in sorted(progress.items())
    ]


async def _progress(
    store: Store, partitions: list[int]
) -> tuple[dict[int, TrackingProgress], Mapping[int, Tracking], bool]:
    """Return how far a view is, where a generation is that is being rebuilt, and if it has run."""
    rows: Sequence[TrackingProgress] = ()
    progress = {number: TrackingProgress(Tracking(number, 0, 0), 0) for number in partitions}
    rebuilt: Mapping[int, Tracking] = {}
    async with store.connected() as connection:
        with suppress(*NOT_THERE):  # No consumer has been here yet.
            rows = await _tracked(store, connection)
            progress = {row.tracking.partition: row for row in rows} or progress
        if store.capabilities.replayable:
            with suppress(*NOT_THERE):
                following = replayable(store).next_generation()
                rebuilt = await following.tracking.read(connection, partitions)
    return progress, rebuilt, bool(rows)


async def _tracked(store: Store, connection: Any) -> Sequence[TrackingProgress]:
    try:
        return await store.tracking.progress(connection)
    except psycopg.errors.UndefinedColumn as error:
        raise ShapeChangedError(store.view) from error


async def _lags(
    kafka: AIOKafkaConsumer, at: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, float]:
    """Return the age of the first record that is not applied, of each partition that has one."""
    waited_for = {partition for partition, end in ends.items() if at[partition] < end}
    kafka.assign(list(waited_for))
    for partition in waited_for:
        kafka.seek(partition, at[partition])
    now, lags = datetime.now(UTC).timestamp(), dict[TopicPartition, float]()
    with anyio.move_on_after(LAG_SECONDS):  # What is lost meanwhile never comes.
        while waited_for:
            fetched = await kafka.getmany(*waited_for, timeout_ms=POLL_MS, max_records=1)
            for partition, (record,) in fetched.items():
                lags[partition] = max(0.0, now - float(record.timestamp) / 1000)
            waited_for -= {
                partition
                for partition in waited_for
                # Beyond, only transaction markers are left.
                if partition in lags or await kafka.position(partition) >= ends[partition]
            }
    return lags
