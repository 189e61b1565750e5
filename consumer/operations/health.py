"""A consumer that runs, watched."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.lookout import BROKEN
from eventsourcing_kafka.consumer.operations.status import PartitionStatus, read_status
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.health import Gauge, HealthCheck, PartitionProgress


class ViewHealth(HealthCheck[PartitionStatus]):
    """A consumer of this process: how far its view is in all partitions, whoever has them."""

    kind = "view"
    label = "view"
    labels = ("partition",)
    gauges = (
        Gauge("position", "The highest position applied.", lambda row: row.position),
        Gauge("offset", "The Kafka offset to go on from.", lambda row: row.offset),
        Gauge("head", "The last stable offset of the partition.", lambda row: row.head),
        Gauge("gap", "Offsets between the two, if that can be known.", lambda row: row.gap),
        Gauge(
            "lag_seconds",
            "The age of the oldest record that is not applied.",
            lambda row: row.lag_seconds,
        ),
        Gauge(
            "owned", "1 if a member of the group has the partition.", lambda row: bool(row.owner)
        ),
        Gauge(
            "stopped",
            "1 if it stands before an event that can't be applied, or that does not follow.",
            lambda row: bool(row.stopped),
        ),
        Gauge("parked", "Events that are set aside now.", lambda row: row.parked),
        Gauge("dropped", "Offsets that are given up for ever.", lambda row: row.dropped),
        Gauge(
            "from_write_model",
            "1 if it reads from the write model what Kafka has deleted.",
            lambda row: row.from_write_model,
        ),
        Gauge(
            "rebuild_offset",
            "The Kafka offset that a generation being rebuilt has come to.",
            lambda row: row.rebuild_offset,
        ),
        Gauge(
            "rebuild_gap",
            "Offsets that a generation being rebuilt is behind.",
            lambda row: row.rebuild_gap,
        ),
    )

    def __init__(self, consumer: Consumer, settings: KafkaSettings) -> None:
        super().__init__(consumer.store.view.name, consumer.health)
        self._consumer = consumer
        self._settings = settings

    def lost(self) -> Sequence[str]:
        """Return what it waits for: its own servers, and the write model's while it needs that."""
        return [*super().lost(), *self._consumer.waits_for_write_model()]

    async def read(self) -> Sequence[PartitionStatus]:
        """Compare the tracking with the topic.

        Why a partition has stopped may quote an event: that is told where the view is. If the chain
        is broken it quotes none.
        """
        store = self._consumer.store
        says_why = f"eventsourcing-kafka consumer status {store.view.arguments} says why"
        return [
            replace(row, stopped=says_why)
            if row.stopped and not row.stopped.startswith(BROKEN)
            else row
            for row in await read_status(store, self._settings)
        ]

    def progress(self, row: PartitionStatus) -> PartitionProgress:
        """Tell of a partition; it is ours to bring on when it is assigned to us."""
        ours = row.partition in self._consumer.seen
        name = f"partition {row.partition}"
        at = row.position if row.from_write_model else row.offset
        return PartitionProgress(name, at, row.gap, row.lag_seconds, ours, row.stopped)
