"""Pages, the slugs that name them, and the log of all pages."""

import sys
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.domain import Aggregate, DomainEvent, event
from eventsourcing.utils import register_topic

from eventsourcing_kafka.producer.contentmanagement.diff import apply_diff, create_diff
from eventsourcing_kafka.producer.contentmanagement.limits import DEFAULT_LIMITS, Limits

user_id_cvar: ContextVar[UUID | None] = ContextVar("user_id", default=None)
"""The ID of the user on whose behalf commands run; recorded on every event of a page."""

occurred_at_cvar: ContextVar[datetime | None] = ContextVar("occurred_at", default=None)
"""When that is done which commands record, in UTC, if it is not done now: a commit's time."""


@dataclass
class Page(Aggregate):
    """A page of text that remembers every change of its title, slug and body."""

    title: str
    slug: str
    body: str
    modified_by: UUID | None = field(init=False)
    occurred_at: datetime | None = field(default=None, init=False)
    """Of the last change; none if it was recorded as it was made. Older snapshots have none."""

    @property
    def changed_at(self) -> datetime:
        """When the last change was made, which may be long before it was recorded."""
        return self.occurred_at or self.modified_on

    class Event(Aggregate.Event):
        """Something that a user did to a page."""

        user_id: UUID | None = field(default_factory=user_id_cvar.get, init=False)
        occurred_at: datetime | None = field(default=None, init=False)
        """When it was done, in UTC, if it was not recorded then. Older events don't say."""

        def __post_init__(self) -> None:
            super().__post_init__()
            object.__setattr__(self, "occurred_at", occurred_at_cvar.get())

        @property
        def changed_at(self) -> datetime:
            """When it was done, which may be long before it was recorded."""
            return self.occurred_at or self.timestamp

        def apply(self, aggregate: Aggregate) -> None:
            """Remember who changed the page last, and when."""
            page = cast("Page", aggregate)
            page.modified_by = self.user_id
            page.occurred_at = self.occurred_at

    class Created(Aggregate.Created, Event):
        """A page came into being."""

        title: str
        slug: str
        body: str

    class TitleUpdated(Event):
        """A page got another title."""

        title: str

    class SlugUpdated(Event):
        """A page got another slug."""

        slug: str

    class BodyUpdated(Event):
        """A page's body changed, by a diff in the normal format of GNU diff."""

        diff: str

    @event(TitleUpdated)
    def update_title(self, title: str) -> None:
        """Give the page another title."""
        self.title = title

    @event(SlugUpdated)
    def update_slug(self, slug: str) -> None:
        """Give the page another slug."""
        self.slug = slug

    def update_body(self, body: str, limits: Limits = DEFAULT_LIMITS) -> None:
        """Replace the body; what is recorded is the difference.

        Raises `InvalidPageError`, leaving the page as it was, beyond the limits.
        """
        limits.check_body(body)
        diff = create_diff(old=self.body, new=body)
        limits.check_diff(diff)
        self._update_body(diff=diff)

    @event(BodyUpdated)
    def _update_body(self, diff: str) -> None:
        self.body = apply_diff(old=self.body, diff=diff)


@dataclass
class Slug(Aggregate):
    """A name, and the page that it leads to, if any."""

    name: str
    page_id: UUID | None

    class Event(Aggregate.Event):
        """Something that happened to a slug."""

    class Created(Aggregate.Created, Event):
        """A slug was used for the first time."""

        name: str
        page_id: UUID | None

    class PageUpdated(Event):
        """A slug now leads to another page, or to none."""

        page_id: UUID | None

    @staticmethod
    def create_id(name: str) -> UUID:
        """Return the one ID that the slug of this name can have."""
        return uuid5(NAMESPACE_URL, f"/slugs/{name}")

    @event(PageUpdated)
    def update_page(self, page_id: UUID | None) -> None:
        """Lead to another page, or to none."""
        self.page_id = page_id


class PageLogged(DomainEvent):
    """A page was added to the log of all pages."""

    page_id: UUID


# What was stored before it moved here names it so.
register_topic("producer.contentmanagement.domainmodel", sys.modules[__name__])
