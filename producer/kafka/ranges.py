"""Reading ranges of partitions: from one offset to another one, with a consumer without a group."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import anyio
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from eventsourcing_kafka.producer.runtime.retry import SessionLostError

FIRST_STEP = 8
"""Offsets to go back at first. A transaction takes two; aborted ones may lie behind the last good
one."""

POLL_MS = 50
SILENT_SECONDS = 30.0
"""A partition that brings nothing for so long, short of its end, is to be looked at anew."""


class NothingComesError(SessionLostError):
    """Kafka brings nothing of what it said that it has."""


class Bounds(NamedTuple):
    """Where a partition begins, and where it ends for a reader of what is committed."""

    begin: int
    end: int


async def bounds_of(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Bounds]:
    """Ask where partitions begin and end."""
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    return {partition: Bounds(begins[partition], ends[partition]) for partition in partitions}


def steps_back(begin: int, end: int) -> Iterator[int]:
    """Yield where to read from to find the last record before `end`: further back each time."""
    start, step = end, FIRST_STEP
    while start > begin:
        start, step = max(begin, end - step), step * FIRST_STEP
        yield start


async def records_in(
    consumer: AIOKafkaConsumer, ranges: Mapping[TopicPartition, Bounds]
) -> AsyncGenerator[tuple[TopicPartition, Sequence[ConsumerRecord]], None]:
    """Yield what partitions have in some ranges, as it comes; the range's end is left out.

    Raises `NothingComesError` when a partition brings nothing, short of its end.
    """
    unread = {partition for partition, (begin, end) in ranges.items() if begin < end}
    assigned = list(unread)
    consumer.assign(assigned)
    for partition in assigned:
        consumer.seek(partition, ranges[partition].begin)
    silent_since = anyio.current_time()
    try:
        while unread:
            fetched = await consumer.getmany(*unread, timeout_ms=POLL_MS)
            for partition, records in fetched.items():
                if wanted := [each for each in records if each.offset < ranges[partition].end]:
                    yield partition, wanted
            if fetched:
                silent_since = anyio.current_time()
            elif anyio.current_time() - silent_since > SILENT_SECONDS:
                raise NothingComesError(f"Nothing comes of {min(unread)}, short of its end.")
            unread = {
                partition
                for partition in unread
                if await consumer.position(partition) < ranges[partition].end
            }
    finally:
        consumer.pause(*assigned)  # Or it would go on to fetch what comes.
