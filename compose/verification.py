"""Compares every page of the write model with the search view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, LiteralString
from uuid import UUID

from anyio import to_thread
from psycopg import AsyncConnection

from consumer.fts.policy import PageInfo
from consumer.store import ViewStore
from producer.contentmanagement.application import ContentManagement
from producer.contentmanagement.domainmodel import Page

BATCH = 500

SELECT_PAGES: LiteralString = """
    SELECT id, version, slug, title, body FROM {schema}.pages WHERE id = ANY(%s)
"""

COUNT_PAGES: LiteralString = "SELECT count(*) FROM {schema}.pages"


async def compare_pages(
    wiki: ContentManagement, store: ViewStore, advance: Callable[[int], None] = lambda _: None
) -> tuple[int, list[str]]:
    """Return how many pages are identical, and a line about each difference.

    Both are expected to be at rest. `advance` is told how many pages have been compared.
    """
    identical, differences, batches = 0, [], _batches(wiki)
    async with store.connected() as connection:
        while pages := await to_thread.run_sync(next, batches, ()):
            shown = await _shown(connection, store, [page.id for page in pages])
            for page in pages:
                found = list(_differences(page, shown.get(page.id)))
                differences += found
                identical += not found
            advance(len(pages))
        cursor = await connection.execute(store.sql(COUNT_PAGES))
        row = await cursor.fetchone()
    compared = identical + len({line.split(":")[0] for line in differences})
    if row and row[0] > compared:
        differences.append(f"the view has {row[0] - compared} pages that the write model has not")
    return identical, differences


def _batches(wiki: ContentManagement) -> Iterator[Sequence[Page]]:
    batch: list[Page] = []
    for logged in wiki.page_log.get():
        batch.append(wiki.repository.get(logged.page_id))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _shown(
    connection: AsyncConnection[Any], store: ViewStore, ids: list[UUID]
) -> dict[UUID, PageInfo]:
    cursor = await connection.execute(store.sql(SELECT_PAGES), [ids])
    return {row[0]: PageInfo(*row) for row in await cursor.fetchall()}


def _differences(page: Page, shown: PageInfo | None) -> Iterator[str]:
    if shown is None:
        yield f"{page.slug}: it is not in the view"
        return
    for name in ("version", "slug", "title", "body"):
        if getattr(page, name) != getattr(shown, name):
            yield f"{page.slug}: its {name} differs"
