"""What the activity view must count, and what it does."""

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.activity.queries import changes, contributors, pages
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page

ALL = 100_000


@dataclass(frozen=True)
class Activity:
    """How often each change, each page and each user is counted."""

    changes: Counter[tuple[UUID, int]]
    pages: Counter[UUID]
    users: Counter[UUID | None]


def expected_activity(wiki: ContentManagement, until: int | None = None) -> Activity:
    """Return what follows from the write model: every event of a page once, up to a position."""
    stored = wiki.recorder.select_notifications(1, ALL, stop=until)
    events = [
        event for event in map(wiki.mapper.to_domain_event, stored) if isinstance(event, Page.Event)
    ]
    return Activity(
        Counter((event.originator_id, event.originator_version) for event in events),
        Counter(event.originator_id for event in events),
        Counter(event.user_id for event in events),
    )


async def found_activity(store: ViewStore) -> Activity:
    """Return what the view has."""
    return Activity(
        Counter((row.page_id, row.version) for row in await changes(store, ALL)),
        Counter({row.page_id: row.edits for row in await pages(store, ALL)}),
        Counter({row.user_id: row.edits for row in await contributors(store, ALL)}),
    )
