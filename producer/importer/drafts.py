"""Drafts of pages: loaded once, changed many times, saved many commits at a time."""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError
from eventsourcing.domain import Aggregate, CanMutateAggregate

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, PageLogged, Slug
from eventsourcing_kafka.producer.contentmanagement.limits import InvalidPageError

MOST_BODIES_KEPT = 30_000_000
"""Characters of the bodies that are kept in memory from one save to the next."""


class PageOfOthersError(Exception):
    """The page is not this import's, and is left as it is."""


class Drafts:
    """The wiki as it will be once the pending events are saved.

    Events are collected in the order in which they happened, over all pages, and saved
    in that order.
    """

    def __init__(
        self, app: ContentManagement, since: datetime, reserved: Mapping[str, datetime]
    ) -> None:
        """Begin with the wiki as it is.

        What was made before `since` is not to be changed, and in folders that are `reserved`
        nothing that was made after the time given.
        """
        self._since = since
        self._reserved = reserved
        self._events: list[CanMutateAggregate[UUID] | PageLogged] = []
        self.pending_chars = 0
        """How long the diffs of the pending events are."""
        self._app = app
        self._slugs: dict[str, Slug] = {}
        self._pages: dict[UUID, Page] = {}
        last_logged = app.page_log.get_last()
        self._pages_logged = last_logged.originator_version if last_logged else 0

    def write(self, slug: str, body: str) -> None:
        """Give the page this body, if it hasn't got it; create the page if there is none.

        Raises `InvalidPageError` when the wiki can't hold it, and `PageOfOthersError`; then
        nothing has changed.
        """
        self._app.limits.check_slug(slug)
        self._app.limits.check_body(body)
        page = self._page(slug)
        if self._is_of_others(slug, page):
            raise PageOfOthersError(slug)
        page = page or self._create(slug)
        if page.body != body:
            self._update_body(page, body)
        self._collect(page)

    def empty(self, slug: str) -> None:
        """Take the body away from the page, if there is one."""
        page = self._page(slug)
        if page and page.body and not self._is_of_others(slug, page):
            self._update_body(page, "")
            self._collect(page)

    def move(self, old: str, new: str) -> None:
        """Give the page another slug, if there is such a page and the slug is free.

        Otherwise nothing happens, and the two slugs are pages of their own. Raises
        `InvalidPageError`, before anything has changed, when this can't be a slug.
        """
        self._app.limits.check_slug(new)
        page = self._page(old)
        if page is None or self._is_of_others(old, page):
            return
        if self._page(new) is not None or self._is_of_others(new, None):
            return
        old_entry = self._slugs[old]
        old_entry.update_page(None)
        new_entry = self._lead(new, page.id)
        page.update_slug(new)
        if page.title == title_of(old) != title_of(new):
            page.update_title(title_of(new))
        self._collect(old_entry, new_entry, page)

    @property
    def pending(self) -> int:
        """The number of events to be saved."""
        return len(self._events)

    def save(self, *others: Aggregate) -> None:
        """Save the pending events, and those of other aggregates, in one transaction.

        Raises the library's `IntegrityError` when someone else changed one of the pages.
        """
        # The pages have no events left; they are named so that snapshots are taken of them.
        self._app.save(*self._events, *others, *self._pages.values())
        self._events = []
        self.pending_chars = 0
        if sum(len(page.body) for page in self._pages.values()) > MOST_BODIES_KEPT:
            self._slugs.clear()
            self._pages.clear()

    def _create(self, slug: str) -> Page:
        page = Page(title=title_of(slug), slug=slug, body="")
        self._pages[page.id] = page
        self._pages_logged += 1
        self._events.append(self._app.page_log.trigger_event(self._pages_logged, page_id=page.id))
        self._collect(self._lead(slug, page.id), page)
        return page

    def _is_of_others(self, slug: str, page: Page | None) -> bool:
        """Tell whether a page, or a page to be made, is not this import's."""
        reserved = [at for folder, at in self._reserved.items() if slug.startswith(f"{folder}/")]
        if page is None:
            return bool(reserved)
        return page.created_on < self._since or any(at <= page.created_on for at in reserved)

    def _update_body(self, page: Page, body: str) -> None:
        try:
            page.update_body(body, self._app.limits)
        except InvalidPageError:  # too much for one event, but each half is not
            page.update_body("", self._app.limits)
            page.update_body(body, self._app.limits)

    def _page(self, slug: str) -> Page | None:
        """Find the page that a slug leads to."""
        entry = self._slug(slug)
        if entry is None or entry.page_id is None:
            return None
        if entry.page_id not in self._pages:
            self._pages[entry.page_id] = self._app.repository.get(entry.page_id)
        return self._pages[entry.page_id]

    def _slug(self, slug: str) -> Slug | None:
        if slug not in self._slugs:
            try:
                self._slugs[slug] = self._app.repository.get(Slug.create_id(slug))
            except AggregateNotFoundError:
                return None
        return self._slugs[slug]

    def _lead(self, slug: str, page_id: UUID) -> Slug:
        """Make a free slug lead to a page."""
        entry = self._slug(slug)
        if entry is None:
            entry = self._slugs[slug] = Slug(slug, page_id=page_id)
        else:
            entry.update_page(page_id)
        return entry

    def _collect(self, *changed: Page | Slug) -> None:
        for aggregate in changed:
            for event in aggregate.collect_events():
                self._events.append(event)
                if isinstance(event, Page.BodyUpdated):
                    self.pending_chars += len(event.diff)


def title_of(path: str) -> str:
    """Derive a page's title from its path: the file's name, as words.

    >>> title_of("docs/getting_started.md")
    'getting started'
    """
    words = re.sub(r"[-_\s]+", " ", PurePosixPath(path).stem).strip()
    return words or path
