"""How far the relay is."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime

import msgspec

from producer.outbox import Outbox
from producer.relay.publisher import read_published
from producer.wire import KafkaSettings, Topics, WireFormat


class RelayStatus(msgspec.Struct, frozen=True):
    """What is published, and what is not yet."""

    application: str
    topic: str
    position: int
    """All notifications up to here are published."""
    head: int
    """The highest position in the write model."""
    gap: int
    """Positions between the two: not looked at by the relay yet, so a hole counts."""
    lag_seconds: float
    """The age of the oldest notification that is not published; 0 when there is none."""


async def read_status(outbox: Outbox, wire: WireFormat, settings: KafkaSettings) -> RelayStatus:
    """Compare the position topic with the outbox."""
    topics = Topics.of(wire.application_name, settings)
    published = await read_published(topics, settings)
    position = published.position if published else 0
    head = await outbox.head()
    gap = max(0, head - position)
    lag = await _age_of_next(outbox, wire, position) if gap else 0.0
    return RelayStatus(wire.application_name, topics.events, position, head, gap, lag)


async def _age_of_next(outbox: Outbox, wire: WireFormat, position: int) -> float:
    async with aclosing(outbox.batches(position)) as batches:
        timestamp = wire.to_record((await anext(batches))[0]).timestamp_ms
    return max(0.0, datetime.now(UTC).timestamp() - timestamp / 1000) if timestamp else 0.0
