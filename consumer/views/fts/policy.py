"""What an event of the wiki does to the search view."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from eventsourcing_kafka.consumer.unit_of_work import Event, OutOfOrderError
from eventsourcing_kafka.producer.contentmanagement.diff import apply_diff
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page


class PageInfo(NamedTuple):
    """A page as the view has it."""

    id: UUID
    version: int
    """The `originator_version` of the last event applied."""
    slug: str
    title: str
    body: str


def policy(event: Event, page: PageInfo | None) -> PageInfo | None:
    """Return the page after the event, or None if the event is not about a page.

    `page` is the page before the event, None if there is none. Raises `OutOfOrderError` for an
    event that is not the page's next one, and `DiffError` for a diff that does not fit.
    """
    if not isinstance(event, Page.Event):
        return None
    version = page.version if page else 0
    if event.originator_version != version + 1:
        raise OutOfOrderError(event, version)
    match event, page:
        case Page.Created(), None:
            return PageInfo(event.originator_id, 1, event.slug, event.title, event.body)
        case Page.TitleUpdated(), PageInfo():
            return page._replace(version=version + 1, title=event.title)
        case Page.SlugUpdated(), PageInfo():
            return page._replace(version=version + 1, slug=event.slug)
        case Page.BodyUpdated(), PageInfo():
            return page._replace(version=version + 1, body=apply_diff(page.body, event.diff))
        case (Page.Created(), PageInfo()) | (_, None):
            raise OutOfOrderError(event, version)
        case _, PageInfo():  # An event that the search does not show.
            return page._replace(version=version + 1)
