"""What is measured of the consumer of a view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import Counter, Histogram

from eventsourcing_kafka.consumer.engine.applying import Applied
from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.producer.runtime.metrics import (
    BATCH_SECONDS,
    BATCH_SIZES,
    PREFIX,
    REGISTRY,
)

RECORDS = Counter(
    f"{PREFIX}view_records",
    "Records that this process has taken in, by what came of them.",
    ["view", "outcome"],
    registry=REGISTRY,
)
SIZE = Histogram(
    f"{PREFIX}view_batch_size",
    "Records in one Postgres transaction.",
    ["view"],
    buckets=BATCH_SIZES,
    registry=REGISTRY,
)
SECONDS = Histogram(
    f"{PREFIX}view_batch_duration_seconds",
    "What one Postgres transaction took, from its begin to its commit.",
    ["view"],
    buckets=BATCH_SECONDS,
    registry=REGISTRY,
)
MISMATCHES = Counter(
    f"{PREFIX}view_guard_mismatches",
    "Times that this process found the tracking moved by somebody else, and went on from there.",
    ["view"],
    registry=REGISTRY,
)
REPLAYS = Counter(
    f"{PREFIX}view_replays",
    "Partitions that this process found set back, or has set back as an operator wished.",
    ["view"],
    registry=REGISTRY,
)


class ViewMetrics:
    """Counts what a consumer does, once for each batch."""

    def __init__(self, view: str) -> None:
        self._applied = RECORDS.labels(view, "applied")
        self._already_seen = RECORDS.labels(view, "already_seen")
        self._parked = RECORDS.labels(view, "parked")
        self._size = SIZE.labels(view)
        self._seconds = SECONDS.labels(view)
        self._mismatches = MISMATCHES.labels(view)
        self._replays = REPLAYS.labels(view)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Take note of what a batch takes, unless it fails."""
        began = perf_counter()
        yield
        self._seconds.observe(perf_counter() - began)

    def applied(self, applied: Applied) -> None:
        """Take note of a batch that is in the view."""
        if not applied.trackings:
            return
        self._applied.inc(applied.events)
        self._already_seen.inc(applied.already_seen)
        self._parked.inc(applied.parked)
        self._size.observe(applied.events + applied.already_seen + applied.parked)

    def moved(self, seen: Mapping[int, Tracking], found: Iterable[Tracking]) -> None:
        """Take note of a tracking that is not where it was seen."""
        self._mismatches.inc()
        self.replayed(sum(at.offset < seen[at.partition].offset for at in found))

    def replayed(self, partitions: int) -> None:
        """Take note of partitions that are applied again from an earlier place."""
        self._replays.inc(partitions)
