"""What the rows of the search view must be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import LiteralString, NamedTuple, Self
from uuid import UUID

from eventsourcing_kafka.consumer.audit import (
    AggregateHistory,
    AuditedEvent,
    Comparison,
    Difference,
    Disposition,
    RowFault,
)
from eventsourcing_kafka.consumer.unit_of_work import OutOfOrderError
from eventsourcing_kafka.consumer.views.fts.parts import heading_of, parts_of
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo, policy
from eventsourcing_kafka.producer.contentmanagement.diff import DiffError

MOST_POSSIBLE = 50
"""A page may be any of several when events of it were skipped; of more, it is not compared."""

UNACCOUNTED = "an event of it can't be applied, and is not parked"

# Of a body its digest is enough. The index is a part of what a search answers from.
SELECT_PAGES: LiteralString = """
    SELECT id, partition, version, slug, title, sha256(convert_to(body, 'UTF8')),
           sha256(convert_to(heading || ' ' || parts, 'UTF8')),
           document = {schema}.document(heading, body, parts)
      FROM {schema}.pages
     ORDER BY id
"""


class PageRow(NamedTuple):
    """A row of the view."""

    id: UUID
    partition: int
    version: int
    slug: str
    title: str
    body: bytes
    """Its SHA-256."""
    names: bytes
    """The same of what is indexed beside it."""
    indexed: bool = True
    """Whether the document that is searched is that of both."""

    @classmethod
    def of(cls, page: PageInfo, partition: int) -> Self:
        """Return the row of a page."""
        body = sha256(page.body.encode()).digest()
        names = sha256(f"{heading_of(page)} {parts_of(page.body)}".encode()).digest()
        return cls(page.id, partition, page.version, page.slug, page.title, body, names)

    @property
    def key(self) -> UUID:
        """The rows are ordered by page."""
        return self.id

    @property
    def name(self) -> str:
        """A page is known by its slug."""
        return f"page {self.slug!r}"

    @property
    def originator_id(self) -> UUID:
        """A row is about its page."""
        return self.id


Possible = frozenset[PageInfo | None]
"""What a page may be: exactly one thing, unless events of it were dropped or skipped."""


async def audit(view: Comparison, histories: AsyncIterator[AggregateHistory]) -> None:
    """Compare every page with what the policy makes of its events."""
    async with view.table("pages", PageRow, SELECT_PAGES) as pages:
        async for page_id, partition, history in histories:
            possible: Possible = frozenset([None])
            async for audited in history:
                if len(possible) <= MOST_POSSIBLE:
                    possible = frozenset(_after(possible, audited))
            if len(possible) > MOST_POSSIBLE:
                await pages.let_pass(page_id)
            elif possible:
                await pages.expect(page_id, *_rows(possible, partition))
            else:
                view.found(Difference(RowFault.ALTERED, "pages", page_id, UNACCOUNTED))
                await pages.let_pass(page_id)


def _after(possible: Possible, audited: AuditedEvent) -> Iterator[PageInfo | None]:
    """Yield what a page may be after an event, given what it may be before."""
    for page in possible:
        if audited.disposition is not Disposition.APPLIED:
            yield page
        if audited.disposition is not Disposition.PARKED:
            with suppress(OutOfOrderError, DiffError):
                yield policy(audited.event, page)
        if audited.disposition is Disposition.UNSURE and _is_next(audited, page):
            yield page and page._replace(version=audited.event.originator_version)


def _is_next(audited: AuditedEvent, page: PageInfo | None) -> bool:
    return page is not None and page.version + 1 == audited.event.originator_version


def _rows(possible: Collection[PageInfo | None], partition: int) -> Iterator[PageRow | None]:
    for page in possible:
        yield PageRow.of(page, partition) if page else None
