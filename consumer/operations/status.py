"""How far a view is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

import anyio
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    for_code,
)
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from eventsourcing_kafka.consumer.engine.store import NOT_THERE, ViewStore, group_of
from eventsourcing_kafka.consumer.engine.tracking import Progress, Tracking
from eventsourcing_kafka.producer.kafka.clients import groupless_consumer, started
from eventsourcing_kafka.producer.kafka.compat import assigned_partitions
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partitions_of

POLL_MS = 50
NO_COORDINATOR_YET = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
COORDINATOR_SECONDS = 5.0


class PartitionStatus(msgspec.Struct, frozen=True):
    """How far a view is in one partition."""

    view: str
    partition: int
    position: int
    """The highest position applied."""
    offset: int
    """The Kafka offset to go on from."""
    head: int
    """The last stable offset: what lies before it is committed in Kafka."""
    gap: int
    """Offsets between the two: records, and transaction markers."""
    lag_seconds: float
    """The age of the oldest record not applied; 0 when there is none."""
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

    @property
    def rebuild_gap(self) -> int | None:
        """Offsets that a generation being rebuilt is behind; None without one."""
        return None if self.rebuild_offset is None else max(0, self.head - self.rebuild_offset)


async def read_status(store: ViewStore, settings: KafkaSettings) -> list[PartitionStatus]:
    """Compare the tracking of a view with the topic; nothing if there is no topic yet."""
    async with groupless_consumer(settings) as kafka:
        ends = await _ends(kafka, store, settings)
        if not ends:
            return []
        progress, rebuilt = await _progress(store, [partition.partition for partition in ends])
        owners = await _owners(store, settings)
        at = {partition: progress[partition.partition].tracking.offset for partition in ends}
        lags = await _lags(kafka, at, ends)
        return [
            PartitionStatus(
                store.view.name,
                partition.partition,
                row.tracking.position,
                row.tracking.offset,
                end,
                max(0, end - row.tracking.offset),
                lags.get(partition, 0.0),
                row.records,
                row.parked,
                row.dropped,
                row.stopped,
                owners.get(partition),
                rebuilt.get(partition.partition),
            )
            for partition, end in sorted(ends.items())
            for row in [progress[partition.partition]]
        ]


async def read_ends(store: ViewStore, settings: KafkaSettings) -> dict[int, int]:
    """Return the last stable offset of each partition; nothing if there is no topic yet."""
    async with groupless_consumer(settings) as kafka:
        ends = await _ends(kafka, store, settings)
        return {partition.partition: end for partition, end in ends.items()}


async def _ends(
    kafka: AIOKafkaConsumer, store: ViewStore, settings: KafkaSettings
) -> dict[TopicPartition, int]:
    topic = Topics.of(store.view.application_name, settings).events
    numbers = range(await partitions_of(topic, settings))
    ends: dict[TopicPartition, int] = await kafka.end_offsets(
        [TopicPartition(topic, number) for number in numbers]
    )
    return ends


async def _progress(
    store: ViewStore, partitions: list[int]
) -> tuple[dict[int, Progress], dict[int, int]]:
    """Return how far a view is, and the offsets that a generation being rebuilt has come to."""
    progress = {number: Progress(Tracking(number, 0, 0), 0) for number in partitions}
    rebuilt = {}
    async with store.connected() as connection:
        with suppress(*NOT_THERE):  # No consumer has been here yet.
            rows = await store.tracking.progress(connection)
            progress |= {row.tracking.partition: row for row in rows}
        if not store.view.hosted:
            with suppress(*NOT_THERE):
                found = await store.next_generation().tracking.read(connection, partitions)
                rebuilt = {number: tracking.offset for number, tracking in found.items()}
    return progress, rebuilt


# Kafka makes the place of its groups when it is asked for the first one, and is a while at it.
@retry(
    retry=retry_if_exception_type(NO_COORDINATOR_YET),
    stop=stop_after_delay(COORDINATOR_SECONDS),
    wait=wait_fixed(POLL_MS / 1000),
    sleep=anyio.sleep,
    reraise=True,
)
async def _owners(store: ViewStore, settings: KafkaSettings) -> dict[TopicPartition, str]:
    """Return who has which partition, as the group's coordinator has it."""
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        (response,) = await admin.describe_consumer_groups([group_of(store, settings)])
    ((error, _, _, _, _, members, *_),) = response.groups
    if error:
        raise for_code(error)
    return {
        partition: f"{client} {host.strip('/')}"
        for _, client, host, _, assignment in members
        if assignment  # It is being negotiated otherwise.
        for partition in assigned_partitions(assignment)
    }


async def _lags(
    kafka: AIOKafkaConsumer, at: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, float]:
    """Return the age of the first record that is not applied, of each partition that has one."""
    waited_for = {partition for partition, end in ends.items() if at[partition] < end}
    kafka.assign(list(waited_for))
    for partition in waited_for:
        kafka.seek(partition, at[partition])
    now, lags = datetime.now(UTC).timestamp(), {}
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
