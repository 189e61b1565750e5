"""The commands and queries of the wiki."""

from collections.abc import Iterator
from typing import ClassVar, TypedDict
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import AggregateNotFoundError, Application, EventSourcedLog
from eventsourcing.domain import MutableOrImmutableAggregate
from eventsourcing.utils import EnvType
from psycopg import sql

from eventsourcing_kafka.producer.contentmanagement import people
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, PageLogged, Slug
from eventsourcing_kafka.producer.contentmanagement.limits import InvalidPageError, Limits

# With it, what imports have stored is resolved by its old path as well, whoever opens the wiki.
from eventsourcing_kafka.producer.contentmanagement.published import EVENT_TYPES
from eventsourcing_kafka.producer.wire import EventTypes

__all__ = [
    "ContentManagement",
    "InvalidPageError",
    "PageChangedError",
    "PageDetails",
    "PageNotFoundError",
    "SlugConflictError",
]


class PageNotFoundError(AggregateNotFoundError):
    """There is no page with this slug, or with this ID."""


class SlugConflictError(Exception):
    """The slug is used by another page."""


class PageChangedError(Exception):
    """Somebody else has changed the page since."""

    def __init__(self, version: int) -> None:
        self.version = version
        """Of the page now."""
        super().__init__(f"the page has been changed: it is at version {version} now")


class PageDetails(TypedDict):
    """What a reader sees of a page."""

    title: str
    slug: str
    body: str
    modified_by: UUID | None


class ContentManagement(Application[UUID]):
    """A wiki: pages found by slug, edited by users, listed in the order of creation.

    Every command is saved in one transaction and returns the position of its last
    notification, which is always one of the page's own events: a reader who waits until
    a view has this position for this page sees what the command did.

    A command that changes nothing is recorded all the same, with the user who gave it.

    Two commands at once for one page, one slug, or two new pages: one of them raises the
    library's `IntegrityError`, has recorded nothing, and can be repeated.
    """

    env: ClassVar[dict[str, str]] = {"CONTENTMANAGEMENT_COMPRESSOR_TOPIC": "gzip"}
    published: ClassVar[EventTypes] = EVENT_TYPES
    snapshotting_intervals: ClassVar[dict[type[MutableOrImmutableAggregate[UUID]], int]] = {Page: 5}

    def __init__(self, env: EnvType | None = None) -> None:
        super().__init__(env)
        self.limits = Limits.from_env(self.env)
        self.page_log: EventSourcedLog[PageLogged] = EventSourcedLog(
            self.events, uuid5(NAMESPACE_URL, "/page_log"), PageLogged
        )

    @staticmethod
    def writer_grants(schema: str, role: str) -> Iterator[sql.Composed]:
        """Yield what a role needs of Postgres to write, besides writing events."""
        yield from people.grants(schema, role)

    def create_page(self, title: str, slug: str) -> int:
        """Create an empty page.

        Raises `InvalidPageError` for a title or slug that can't be carried, and
        `SlugConflictError` for a slug in use.
        """
        self.limits.check_title(title)
        self.limits.check_slug(slug)
        page = Page(title=title, slug=slug, body="")
        index_entry = self._slug_leading_to(page.id, slug)
        page_logged = self.page_log.trigger_event(page_id=page.id)
        return self._save(page_logged, index_entry, page)

    def update_title(self, slug: str, title: str, *, version: int | None = None) -> int:
        """Give a page another title. It is to be at `version` still, if that is given.

        Raises `InvalidPageError`, `PageNotFoundError`, or `PageChangedError`.
        """
        self.limits.check_title(title)
        page = self._get_page_at(slug, version)
        page.update_title(title)
        return self._save(page)

    def update_slug(self, old_slug: str, new_slug: str, *, version: int | None = None) -> int:
        """Give a page another slug, and free the old one for other pages.

        It is to be at `version` still, if that is given. Raises `InvalidPageError`,
        `PageNotFoundError`, `PageChangedError`, or `SlugConflictError`.
        """
        self.limits.check_slug(new_slug)
        page = self._get_page_at(old_slug, version)
        if new_slug == old_slug:
            page.update_slug(new_slug)
            return self._save(page)
        new_entry = self._slug_leading_to(page.id, new_slug)
        old_entry = self._get_slug(old_slug)
        old_entry.update_page(None)
        page.update_slug(new_slug)
        return self._save(old_entry, new_entry, page)

    def update_body(self, slug: str, body: str, *, version: int | None = None) -> int:
        """Replace the body of a page, which is to be at `version` still, if that is given.

        Raises `InvalidPageError`, `PageNotFoundError`, or `PageChangedError`.
        """
        page = self._get_page_at(slug, version)
        page.update_body(body, self.limits)
        return self._save(page)

    def get_page_id(self, slug: str) -> UUID:
        """Return the ID of the page that the slug leads to, or raise `PageNotFoundError`."""
        try:
            page_id = self._get_slug(slug).page_id
        except AggregateNotFoundError:
            raise PageNotFoundError(slug) from None
        if page_id is None:
            raise PageNotFoundError(slug)
        return page_id

    def get_page_by_slug(self, slug: str) -> PageDetails:
        """Return the page that the slug leads to, or raise `PageNotFoundError`."""
        return _details(self._get_page_by_slug(slug))

    def get_page_by_id(self, page_id: UUID) -> PageDetails:
        """Return the page with this ID, or raise `PageNotFoundError`."""
        return _details(self._get_page_by_id(page_id))

    def get_pages(
        self,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Iterator[PageDetails]:
        """Yield pages in the order of their creation, the latest first if `desc`.

        `gt` and `lte` bound the page's number in the log of pages, which starts at 1.
        """
        for page_logged in self.page_log.get(gt=gt, lte=lte, desc=desc, limit=limit):
            yield self.get_page_by_id(page_logged.page_id)

    def _save(self, *changed: Page | Slug | PageLogged) -> int:
        """Save what a command changed, the page last, and return the last position."""
        return self.save(*changed)[-1].notification.id

    def _get_page_by_slug(self, slug: str) -> Page:
        return self._get_page_by_id(self.get_page_id(slug))

    def _get_page_at(self, slug: str, version: int | None) -> Page:
        page = self._get_page_by_slug(slug)
        if version not in (None, page.version):
            raise PageChangedError(page.version)
        return page

    def _get_page_by_id(self, page_id: UUID) -> Page:
        try:
            page: object = self.repository.get(page_id)
        except AggregateNotFoundError:
            raise PageNotFoundError(page_id) from None
        if not isinstance(page, Page):
            raise PageNotFoundError(page_id)
        return page

    def _get_slug(self, slug: str) -> Slug:
        return self.repository.get(Slug.create_id(slug))

    def _slug_leading_to(self, page_id: UUID, slug: str) -> Slug:
        """Return the slug with a pending change that makes it lead to the page."""
        try:
            entry = self._get_slug(slug)
        except AggregateNotFoundError:
            return Slug(slug, page_id=page_id)
        if entry.page_id is not None:
            raise SlugConflictError(slug)
        entry.update_page(page_id)
        return entry


def _details(page: Page) -> PageDetails:
    return {
        "title": page.title,
        "slug": page.slug,
        "body": page.body,
        "modified_by": page.modified_by,
    }
