"""What the rows of the activity view must be: a recount."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import LiteralString, NamedTuple, TypeVar
from uuid import UUID

from eventsourcing_kafka.consumer.audit import (
    AggregateHistory,
    AuditedEvent,
    Comparison,
    Disposition,
    Rows,
)
from eventsourcing_kafka.consumer.unit_of_work import Event
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page

SELECT_CHANGES: LiteralString = """
    SELECT page_id, version, partition, user_id, change, changed_at
      FROM {schema}.changes
     ORDER BY page_id, version
"""

SELECT_PAGES: LiteralString = """
    SELECT page_id, partition, slug, title, edits, first_at, last_at
      FROM {schema}.pages
     ORDER BY page_id
"""

SELECT_CONTRIBUTORS: LiteralString = """
    SELECT user_id, partition, edits, first_at, last_at
      FROM {schema}.contributors
     ORDER BY user_id NULLS LAST, partition
"""


class ChangeRow(NamedTuple):
    """One edit of one page."""

    page_id: UUID
    version: int
    partition: int
    user_id: UUID | None
    change: str
    changed_at: datetime

    @property
    def key(self) -> tuple[UUID, int]:
        """The rows are ordered by page, and then by version."""
        return self.page_id, self.version

    @property
    def name(self) -> str:
        """A change is a version of a page."""
        return f"version {self.version}"

    @property
    def originator_id(self) -> UUID:
        """A change is one of a page."""
        return self.page_id


class PageRow(NamedTuple):
    """How often a page was edited, and when."""

    page_id: UUID
    partition: int
    slug: str
    title: str
    edits: int
    first_at: datetime
    last_at: datetime

    @property
    def key(self) -> UUID:
        """The rows are ordered by page."""
        return self.page_id

    @property
    def name(self) -> str:
        """A page is known by its slug."""
        return f"page {self.slug!r}"

    @property
    def originator_id(self) -> UUID:
        """A row is about its page."""
        return self.page_id


class ContributorRow(NamedTuple):
    """How often a user edited pages of one partition, and when."""

    user_id: UUID | None
    partition: int
    edits: int
    first_at: datetime
    last_at: datetime

    @property
    def key(self) -> tuple[bool, UUID, int]:
        """The rows are ordered by user, nobody last, and then by partition."""
        return self.user_id is None, self.user_id or UUID(int=0), self.partition

    @property
    def name(self) -> str:
        """A contributor is counted in each partition."""
        return f"user {self.user_id or 'nobody'}, partition {self.partition}"

    @property
    def originator_id(self) -> None:
        """A user edits many pages."""


Counted = TypeVar("Counted", PageRow, ContributorRow)


async def audit(view: Comparison, histories: AsyncIterator[AggregateHistory]) -> None:
    """Compare every change with its event, and every count with a recount.

    One count for each contributor is kept in memory.
    """
    contributors: dict[tuple[UUID | None, int], ContributorRow] = {}
    async with (
        view.table("changes", ChangeRow, SELECT_CHANGES) as changes,
        view.table("pages", PageRow, SELECT_PAGES) as pages,
    ):
        async for page_id, partition, history in histories:
            page: PageRow | None = None
            async for audited in history:
                change = _change(audited)
                if await _is_counted(changes, change, audited.disposition):
                    page = _counted(_named(page or _new_page(change), audited.event), change)
                    user = contributors.get((change.user_id, partition)) or _new_user(change)
                    contributors[change.user_id, partition] = _counted(user, change)
            await pages.expect(page_id, page)
    async with view.table("contributors", ContributorRow, SELECT_CONTRIBUTORS) as rows:
        for row in sorted(contributors.values(), key=lambda row: row.key):
            await rows.expect(row.key, row)


async def _is_counted(
    changes: Rows[ChangeRow], change: ChangeRow, disposition: Disposition
) -> bool:
    match disposition:
        case Disposition.PARKED:
            return False
        case Disposition.UNSURE:
            return await changes.expect(change.key, change, None) is not None
        case Disposition.APPLIED:
            await changes.expect(change.key, change)
            return True


def _change(audited: AuditedEvent) -> ChangeRow:
    event, partition, _ = audited
    assert isinstance(event, Page.Event)  # noqa: S101 - the view wants no others
    return ChangeRow(
        event.originator_id,
        event.originator_version,
        partition,
        event.user_id,
        type(event).__name__,
        event.changed_at,
    )


def _new_page(change: ChangeRow) -> PageRow:
    at = change.changed_at
    return PageRow(change.page_id, change.partition, "", "", 0, at, at)


def _new_user(change: ChangeRow) -> ContributorRow:
    return ContributorRow(change.user_id, change.partition, 0, change.changed_at, change.changed_at)


def _named(page: PageRow, event: Event) -> PageRow:
    return page._replace(
        slug=getattr(event, "slug", "") or page.slug,
        title=getattr(event, "title", "") or page.title,
    )


def _counted(row: Counted, change: ChangeRow) -> Counted:
    return row._replace(
        edits=row.edits + 1,
        first_at=min(row.first_at, change.changed_at),
        last_at=max(row.last_at, change.changed_at),
    )
