"""The metrics that a relay counts as it publishes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import Counter, Histogram

from eventsourcing_kafka.producer.runtime.metrics import (
    BATCH_SECONDS,
    BATCH_SIZES,
    PREFIX,
    REGISTRY,
)

PUBLISHED = Counter(
    f"{PREFIX}relay_published",
    "Notifications that this process has published.",
    ["application"],
    registry=REGISTRY,
)
LOST = Counter(
    f"{PREFIX}relay_lost",
    "Positions that Kafka had acknowledged and has lost: looked at again, to publish what lacks.",
    ["application"],
    registry=REGISTRY,
)
SIZE = Histogram(
    f"{PREFIX}relay_batch_size",
    "Notifications in one Kafka transaction.",
    ["application"],
    buckets=BATCH_SIZES,
    registry=REGISTRY,
)
SECONDS = Histogram(
    f"{PREFIX}relay_batch_duration_seconds",
    "What one Kafka transaction took, from its begin to its commit.",
    ["application"],
    buckets=BATCH_SECONDS,
    registry=REGISTRY,
)


class RelayMetrics:
    """Counts what a relay does, once for each batch."""

    def __init__(self, application: str) -> None:
        self._published = PUBLISHED.labels(application)
        self._size = SIZE.labels(application)
        self._seconds = SECONDS.labels(application)
        self._lost = LOST.labels(application)

    @contextmanager
    def batch(self, size: int) -> Iterator[None]:
        """Count the batch that the body publishes, unless it fails."""
        began = perf_counter()
        yield
        self._seconds.observe(perf_counter() - began)
        self._size.observe(size)
        self._published.inc(size)

    def lost(self, positions: int) -> None:
        """Take note of what Kafka has lost."""
        self._lost.inc(positions)
