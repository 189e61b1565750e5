"""Consumers of the activity, whose counters show every event that is lost or applied twice."""

from collections.abc import Collection
from typing import Any

import pytest
from aiokafka import TopicPartition

from eventsourcing_kafka.consumer.engine.subscription import Subscription
from eventsourcing_kafka.consumer.views.activity import VIEW
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from tests.activity.counting import expected_activity, found_activity
from tests.pipeline import Pipeline, until


def activity(environment: dict[str, str], **options: Any) -> Pipeline:
    return Pipeline(environment, consumers=0, view=VIEW, **options)


async def assert_counted_once(pipeline: Pipeline) -> None:
    await pipeline.settled()
    expected = await pipeline.do(expected_activity, pipeline.wiki)
    assert await found_activity(pipeline.store) == expected
    rows = await pipeline.progress()
    assert not any(row.parked for row in rows)
    assert sum(row.records for row in rows) == await pipeline.do(last_position, pipeline.wiki)


def last_position(wiki: ContentManagement) -> int:
    """Return how many events there are: no position was left out."""
    return wiki.recorder.max_notification_id() or 0


async def write(pipeline: Pipeline, name: str, pages: int = 6, edits: int = 10) -> None:
    for number in range(pages):
        await pipeline.write(f"{name}{number}", *(f"{line}\n" for line in range(edits)))


async def is_waited_for(connection: Any) -> bool:
    """Tell whether somebody waits for a lock on a table."""
    cursor = await connection.execute(
        "SELECT FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"
    )
    return int(cursor.rowcount) > 0


async def ends_who_blocks(connection: Any) -> bool:
    """End the sessions that others wait for; tell whether there was one."""
    cursor = await connection.execute(
        "SELECT pg_terminate_backend(blocking)"
        "  FROM pg_stat_activity, unnest(pg_blocking_pids(pid)) AS blocking"
        " WHERE datname = current_database()"
    )
    return int(cursor.rowcount) > 0


class Assignments:
    """Which partitions are assigned to which consumer of this process, each time anew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: dict[Subscription, list[set[int]]] = {}
        assigned = Subscription.on_partitions_assigned

        async def note(subscription: Subscription, partitions: Collection[TopicPartition]) -> None:
            given = {partition.partition for partition in partitions}
            self.of.setdefault(subscription, []).append(given)
            await assigned(subscription, partitions)

        monkeypatch.setattr(Subscription, "on_partitions_assigned", note)

    def last(self) -> list[set[int]]:
        return [given[-1] for given in self.of.values()]

    async def share(self, *sizes: int) -> None:
        """Wait until the consumers that came last have so many partitions each."""

        async def is_shared() -> bool:
            return [len(given) for given in self.last()[-len(sizes) :]] == list(sizes)

        await until(is_shared)
