"""What a running stack shows about the relay and the views."""

from __future__ import annotations

from collections.abc import Mapping

from eventsourcing_kafka.compose.stack.display import Detail
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.status import read_status as read_view_status
from eventsourcing_kafka.consumer.views.registry import view_named
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import read_status as read_relay_status
from eventsourcing_kafka.producer.runtime.applications import open_reached
from eventsourcing_kafka.producer.wire import WireFormat


async def relay_detail(environment: Mapping[str, str]) -> str:
    """Tell up to where the write model is published."""
    stack = tuple(environment.items())
    if stack not in _wikis:
        _wikis[stack] = await open_reached(ContentManagement, environment)
    wiki = _wikis[stack]
    wire = WireFormat.of(wiki)
    status = await read_relay_status(
        outbox_of(wiki, limit=1), wire, KafkaSettings.from_env(environment)
    )
    return (
        f"published up to position {status.position} of {status.head}, "
        f"gap {status.gap}, lag {status.lag_seconds:.1f} s"
    )


def view_detail(name: str) -> Detail:
    """Return what tells how far a view is."""

    async def detail(environment: Mapping[str, str]) -> str:
        store = ViewStore.of(view_named(name), environment)
        rows = await read_view_status(store, KafkaSettings.from_env(environment))
        stopped = [str(row.partition) for row in rows if row.stopped]
        return (
            f"{sum(row.records for row in rows)} records applied, "
            f"gap {sum(row.gap for row in rows)}, "
            f"lag {max((row.lag_seconds for row in rows), default=0.0):.1f} s, "
            f"{sum(row.parked for row in rows)} parked"
            + (f", stopped: partitions {', '.join(stopped)}" if stopped else "")
        )

    return detail


_wikis: dict[tuple[tuple[str, str], ...], ContentManagement] = {}

DETAILS: dict[str, Detail] = {
    "relay": relay_detail,
    "consumer fts": view_detail("fts"),
    "consumer activity": view_detail("activity"),
}
"""What `up` shows about a part besides its process, by the name of the part."""
