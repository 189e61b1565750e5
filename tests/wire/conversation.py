"""A writer and a reader of the wiki's events, and what goes between them."""

from datetime import UTC, datetime
from uuid import UUID

from eventsourcing.persistence import Mapper, Notification
from hypothesis import strategies as st

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, PageLogged, Slug
from eventsourcing_kafka.producer.wire import EventTypes, Record, WireFormat
from eventsourcing_kafka.producer.wire.event_types import Event
from tests.chains import linked
from tests.language.languages import events_of, restored

APPLICATION = "ContentManagement"
WIKI = EventTypes.of(Page, Slug, PageLogged)
PAGE_ID = UUID("6e5e5d19-4c9b-4b4c-8d2f-0c3e6a1f7b21")


def mapper_of(**settings: str) -> Mapper[UUID]:
    """Return the mapper that the wiki has with these settings: JSON, compressed by gzip."""
    with ContentManagement({"PERSISTENCE_MODULE": "eventsourcing.popo", **settings}) as wiki:
        return wiki.mapper


PLAIN = mapper_of()
WRITER = WireFormat(APPLICATION, EventTypes(), PLAIN)
READER = WireFormat(APPLICATION, WIKI)


def stored(event: Event, position: int = 1, mapper: Mapper[UUID] = PLAIN) -> Notification:
    """Return the notification that the library makes of an event."""
    return Notification(id=position, **vars(mapper.to_stored_event(event)))


def written(event: Event, position: int = 1) -> Record:
    return linked(WRITER.to_record(stored(event, position)))


def read(record: Record, reader: WireFormat = READER) -> Event:
    return reader.to_event(reader.envelope(record.key, record.headers), record.value)


def titled(title: str = "A rose") -> Event:
    """Return the same event each time, but for its title."""
    return restored(
        WIKI.named("Page.TitleUpdated"),
        originator_id=PAGE_ID,
        originator_version=7,
        timestamp=datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC),
        user_id=None,
        title=title,
    )


def wiki_events() -> st.SearchStrategy[Event]:
    """Return events of every class of the wiki, with any attributes of the annotated types."""
    return st.sampled_from(sorted(WIKI, key=lambda known: known.name)).flatmap(events_of)
