"""The health check of a relay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.outbox import Outbox
from eventsourcing_kafka.producer.relay.relay import Relay
from eventsourcing_kafka.producer.relay.status import RelayStatus, read_status
from eventsourcing_kafka.producer.runtime.health import (
    Flag,
    Gauge,
    HealthCheck,
    PartitionProgress,
    Report,
)
from eventsourcing_kafka.producer.wire import WireFormat


class RelayHealth(HealthCheck[RelayStatus]):
    """Checks a relay of this process: how far its application is published, by whichever relay."""

    kind = "relay"
    label = "application"
    gauges = (
        Gauge("position", "All notifications up to here are published.", lambda row: row.position),
        Gauge("head", "The highest position in the write model.", lambda row: row.head),
        Gauge("gap", "Positions between the two; a hole counts.", lambda row: row.gap),
        Gauge(
            "lag_seconds",
            "The age of the oldest notification that is not published.",
            lambda row: row.lag_seconds,
        ),
    )

    def __init__(
        self, relay: Relay, outbox: Outbox, wire: WireFormat, settings: KafkaSettings
    ) -> None:
        super().__init__(wire.application_name, relay.health)
        self._relay = relay
        self._outbox = outbox
        self._wire = wire
        self._settings = settings

    async def read(self) -> Sequence[RelayStatus]:
        """Compare the position topic with the outbox."""
        return [await read_status(self._outbox, self._wire, self._settings)]

    def flags(self, report: Report) -> Iterator[Flag]:
        """Yield whether it has the turn, too."""
        yield from super().flags(report)
        meaning = "1 if it publishes, 0 if it waits for its turn."
        yield Flag("publishing", meaning, self._relay.publishing)

    def progress(self, row: RelayStatus) -> PartitionProgress:
        """Return the progress of the application: ours to make if this relay has the turn."""
        ours = self._relay.publishing
        return PartitionProgress(row.application, row.position, row.gap, row.lag_seconds, ours)
