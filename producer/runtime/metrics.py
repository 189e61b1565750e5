"""The registry of the metrics of both ends of the wire, and what their names begin with.

What a loop does is counted as it does it, once for each batch. How far it is, is not kept here:
`health` reads that from the true head at each request.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, ProcessCollector

PREFIX = "eventsourcing_kafka_"

REGISTRY = CollectorRegistry()
"""Our own: prometheus-client's default one belongs to the program that we may be a part of."""
ProcessCollector(registry=REGISTRY)

BATCH_SIZES = (1, 10, 100, 500, 1000, 2000, 5000, 10_000, 20_000)
"""Upper bounds, up to the largest batch that a rebuild applies."""
BATCH_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100, 300)
"""Upper bounds, up to where a client counts as stuck."""
