"""Reading one page of the view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from eventsourcing_kafka.consumer.engine.store import NOT_THERE, ViewMissingError, ViewStore

SELECT_PAGE: LiteralString = """
    SELECT id, version, slug, title, body,
           EXISTS (SELECT FROM {schema}.parked
                    WHERE originator_id = pages.id::text
                      AND parked.position IS NOT NULL) AS stale,
           position
      FROM {schema}.pages JOIN {schema}.tracking USING (partition)
     WHERE id = %(id)s AND application = %(application)s
"""

SELECT_TITLES: LiteralString = "SELECT id, slug, title FROM {schema}.pages WHERE id = ANY(%s)"


class PageShown(msgspec.Struct, frozen=True):
    """A page as the view has it."""

    id: UUID
    version: int
    slug: str
    title: str
    body: str
    stale: bool
    """An event of the page is parked: it is shown as it was before."""
    position: int
    """Up to which its partition has been applied."""


async def read_page(store: ViewStore, page_id: UUID) -> PageShown | None:
    """Return a page; None if the view has none of this ID.

    Raises `ViewMissingError` before any consumer ran.
    """
    async with store.connected() as connection:
        cursor = connection.cursor(row_factory=class_row(PageShown))
        try:
            await cursor.execute(
                store.sql(SELECT_PAGE),
                {"id": page_id, "application": store.view.application_name},
            )
        except NOT_THERE as error:
            raise ViewMissingError(store.view) from error
        return await cursor.fetchone()


async def read_titles(store: ViewStore, page_ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
    """Return slug and title of pages by their IDs, of those that the view has.

    Raises `ViewMissingError` before any consumer ran.
    """
    async with store.connected() as connection:
        try:
            cursor = await connection.execute(store.sql(SELECT_TITLES), [list(page_ids)])
        except NOT_THERE as error:
            raise ViewMissingError(store.view) from error
        return {page_id: (slug, title) async for page_id, slug, title in cursor}
