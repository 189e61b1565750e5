"""What a running stack shows about the relay and the views."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from eventsourcing_kafka.compose.monitor.overview import opened_sources
from eventsourcing_kafka.compose.stack.sample import SAMPLE
from eventsourcing_kafka.consumer.hosting.systems import edges_named
from eventsourcing_kafka.consumer.operations.status import PartitionStatus, gap_of
from eventsourcing_kafka.producer.relay import RelayStatus
from eventsourcing_kafka.producer.runtime.pipeline import Pipeline

Detail = Callable[[], Awaitable[str]]
"""Says in a line how a part is doing."""


@contextmanager
def opened_details(
    environment: Mapping[str, str], pipeline: Pipeline = SAMPLE
) -> Iterator[Mapping[str, Detail]]:
    """Yield what `up` shows about a part besides its process, by the name of the part.

    `environment` points at the stack. Its databases are connected to when a detail is first asked
    for, and left at the end.
    """
    with opened_sources(environment, pipeline=pipeline) as sources:
        views = {f"consumer {name}": _of_view(read) for name, read in sources.views.items()}
        relays = {f"relay {name}": _of_relay(read) for name, read in sources.relays.items()}
        if len(relays) == 1:
            relays["relay"] = next(iter(relays.values()))
        yield {**relays, **views, **_of_hosted(pipeline, sources.views)}


def _of_hosted(
    pipeline: Pipeline, reads: Mapping[str, Callable[[], Awaitable[Sequence[PartitionStatus]]]]
) -> Mapping[str, Detail]:
    """Return what is shown of followers and systems: of all their edges together."""
    hosted = {f"follower {name}": part.at for name, part in pipeline.followers.items()}
    hosted |= {f"system {name}": part.at for name, part in pipeline.systems.items()}
    return {
        name: _together([_of_view(reads[edge]) for edge in edges_named(topic) if edge in reads])
        for name, topic in hosted.items()
    }


def _together(details: Sequence[Detail]) -> Detail:
    async def detail() -> str:
        return "; ".join([await each() for each in details])

    return detail


def _of_relay(read: Callable[[], Awaitable[RelayStatus]]) -> Detail:
    async def detail() -> str:
        status = await read()
        return (
            f"published up to position {status.position} of {status.head}, "
            f"gap {status.gap}, lag {status.lag_seconds:.1f} s"
        )

    return detail


def _of_view(read: Callable[[], Awaitable[Sequence[PartitionStatus]]]) -> Detail:
    async def detail() -> str:
        rows = await read()
        if not rows:
            return "has not run yet: there is no topic"
        stopped = [str(row.partition) for row in rows if row.stopped]
        applied = f"{sum(row.records for row in rows)} records applied"
        return (
            f"{applied if rows[0].has_run else 'has not run yet'}, "
            f"gap {'unknown' if (gap := gap_of(rows)) is None else gap}, "
            f"lag {max((row.lag_seconds for row in rows), default=0.0):.1f} s, "
            f"{sum(row.parked for row in rows)} parked"
            + (f", stopped: partitions {', '.join(stopped)}" if stopped else "")
        )

    return detail
