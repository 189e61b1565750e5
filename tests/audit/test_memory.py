"""However much there is to compare, only a little of it is in memory."""

import tracemalloc
from collections.abc import Iterator
from itertools import islice
from typing import Any
from uuid import UUID

from anyio import to_thread
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import get_topic

from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page

from .audited import Audited, Placed

PAGES = 50
EDITS = 199
BODY = "a line that is as long as such lines are\n" * 80
MOST_BYTES = 16 * 1024 * 1024


def histories(audited: Audited) -> Iterator[StoredEvent]:
    """Yield the events of some pages, each of which is edited again and again."""
    created: Any = Page.Created
    updated: Any = Page.TitleUpdated
    for version in range(1, EDITS + 2):
        for number in range(PAGES):
            common: dict[str, Any] = {
                "originator_id": UUID(int=number + 1),
                "originator_version": version,
                "timestamp": Page.Event.create_timestamp(),
            }
            event = (
                created(
                    **common,
                    originator_topic=get_topic(Page),
                    title="t",
                    slug=f"s-{number}",
                    body=BODY,
                )
                if version == 1
                else updated(**common, title=f"{number} {version} {BODY}")
            )
            yield audited.wiki.mapper.to_stored_event(event)


async def test_ten_thousand_notifications_are_compared_in_bounded_memory(
    audited: Audited,
) -> None:
    def store() -> None:
        # Psycopg's pipeline has come to a standstill over all of them at once.
        events = histories(audited)
        while some := list(islice(events, 1000)):
            audited.wiki.recorder.insert_events(some)

    await to_thread.run_sync(store)
    published = []

    def placed() -> Iterator[Placed]:
        for each in audited.placed():
            published.append(len(each.record.value))
            yield each

    await audited.publish(placed())

    tracemalloc.start()
    report = await audited.audit()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert report.clean
    assert report.topics[0].notifications == len(published) > PAGES * EDITS
    assert peak < MOST_BYTES < sum(published)
