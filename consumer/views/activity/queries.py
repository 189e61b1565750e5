"""Reading the activity view."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from eventsourcing_kafka.consumer.engine.store import NOT_THERE, ViewMissingError, ViewStore

SELECT_CHANGES: LiteralString = """
    SELECT changed_at, user_id, change, version, page_id, slug, title
      FROM {schema}.changes LEFT JOIN {schema}.pages USING (page_id)
     ORDER BY changed_at DESC, version DESC
     LIMIT %(limit)s
"""

# No index knows users: it is the newest changes up to the user's last one that are looked through.
SELECT_CHANGES_BY: LiteralString = """
    SELECT changed_at, user_id, change, version, page_id, slug, title
      FROM (SELECT *
              FROM {schema}.changes
             WHERE changed_at <= (SELECT max(last_at)
                                    FROM {schema}.contributors
                                   WHERE user_id = %(user_id)s)
             ORDER BY changed_at DESC
             LIMIT %(seen)s) AS seen
      LEFT JOIN {schema}.pages USING (page_id)
     WHERE user_id = %(user_id)s
     ORDER BY changed_at DESC, version DESC
     LIMIT %(limit)s
"""

SEEN = 20_000
"""Changes that are looked through for those of one user."""

SELECT_CONTRIBUTOR: LiteralString = """
    SELECT user_id, sum(edits)::bigint AS edits, min(first_at) AS first_at, max(last_at) AS last_at
      FROM {schema}.contributors
     WHERE user_id = %(user_id)s
     GROUP BY user_id
"""

SELECT_CONTRIBUTORS: LiteralString = """
    SELECT user_id, sum(edits)::bigint AS edits, min(first_at) AS first_at, max(last_at) AS last_at
      FROM {schema}.contributors
     GROUP BY user_id
     ORDER BY edits DESC, user_id
     LIMIT %(limit)s
"""

SELECT_PAGES: LiteralString = """
    SELECT page_id, slug, title, edits, first_at, last_at
      FROM {schema}.pages
     ORDER BY edits DESC, page_id
     LIMIT %(limit)s
"""

Row = TypeVar("Row", bound=msgspec.Struct)


class RecentChange(msgspec.Struct, frozen=True):
    """Who changed which page when."""

    changed_at: datetime
    user_id: UUID | None
    change: str
    version: int
    page_id: UUID
    slug: str | None
    """As it is now."""
    title: str | None
    """As it is now."""


class Contributor(msgspec.Struct, frozen=True):
    """A user, and how often and when he or she changed pages."""

    user_id: UUID | None
    edits: int
    first_at: datetime
    last_at: datetime


class EditedPage(msgspec.Struct, frozen=True):
    """A page, and how often and when it was changed."""

    page_id: UUID
    slug: str
    title: str
    edits: int
    first_at: datetime
    last_at: datetime


async def changes(store: ViewStore, limit: int) -> list[RecentChange]:
    """Return the latest changes, the newest first."""
    return await _select(store, SELECT_CHANGES, RecentChange, limit=limit)


async def changes_by(
    store: ViewStore, user_id: UUID, limit: int, *, seen: int = SEEN
) -> list[RecentChange]:
    """Return the latest changes of a user, the newest first.

    They are looked for among as many changes as are `seen`, the user's last one and those before.
    """
    given = {"user_id": user_id, "limit": limit, "seen": seen}
    return await _select(store, SELECT_CHANGES_BY, RecentChange, **given)


async def contributor(store: ViewStore, user_id: UUID) -> Contributor | None:
    """Return how often and when a user changed pages; None for one that never did."""
    found = await _select(store, SELECT_CONTRIBUTOR, Contributor, user_id=user_id)
    return found[0] if found else None


async def contributors(store: ViewStore, limit: int) -> list[Contributor]:
    """Return those who changed most, first."""
    return await _select(store, SELECT_CONTRIBUTORS, Contributor, limit=limit)


async def pages(store: ViewStore, limit: int) -> list[EditedPage]:
    """Return the pages that were changed most, first."""
    return await _select(store, SELECT_PAGES, EditedPage, limit=limit)


async def _select(
    store: ViewStore, statement: LiteralString, row: type[Row], **given: Any
) -> list[Row]:
    async with store.connected() as connection:
        cursor: Any = connection.cursor(row_factory=class_row(row))
        try:
            await cursor.execute(store.sql(statement), given)
        except NOT_THERE as error:
            raise ViewMissingError(store.view) from error
        rows: list[Row] = await cursor.fetchall()
        return rows
