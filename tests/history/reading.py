"""What any reader of Kafka sees of an event: a few headers of CloudEvents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.history.entries import UNKNOWN_OFFSET, Found, Record


def record_of(headers: Iterable[tuple[str, bytes]], offset: int = UNKNOWN_OFFSET) -> Record | None:
    """Return what headers say of an event; None if they are not those of one."""
    named = dict(headers)
    try:
        return Record(
            int(named["ce_position"]),
            named["ce_subject"].decode(),
            int(named["ce_sequence"]),
            mark_of(datetime.fromisoformat(named["ce_time"].decode())),
            offset,
        )
    except (KeyError, ValueError):
        return None


def mark_of(time: datetime) -> str:
    """Return what tells an event apart from others of its place: it happened at another time."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


async def read_topic(servers: str, topic: str, *, complete: bool = True) -> AsyncIterator[Found]:
    """Read all that is committed in a topic, partition by partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        await consumer.start()
        for number in range(await _partitions_of(servers, topic)):
            records = await _read_partition(consumer, TopicPartition(topic, number))
            yield Found(topic=topic, partition=number, records=records, complete=complete)
    finally:
        await consumer.stop()


async def _partitions_of(servers: str, topic: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    try:
        await admin.start()
        (described,) = await admin.describe_topics([topic])
        return len(described["partitions"])
    finally:
        await admin.close()


async def _read_partition(consumer: AIOKafkaConsumer, partition: TopicPartition) -> list[Record]:
    consumer.assign([partition])
    begins = await consumer.beginning_offsets([partition])
    ends = await consumer.end_offsets([partition])
    consumer.seek(partition, begins[partition])
    found: list[Record] = []
    while await consumer.position(partition) < ends[partition]:
        for records in (await consumer.getmany(partition, timeout_ms=200)).values():
            read = (record_of(each.headers, each.offset) for each in records)
            found += [record for record in read if record]
    return found
