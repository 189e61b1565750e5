"""Reading your own writes: a browser carries the position of what it wrote last."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request

from eventsourcing_kafka.consumer.engine.store import ViewStore

WAIT_SECONDS = 2.0
"""For the view. Then the page is shown as it is, and says so."""


def remember_write(request: Request, position: int, page_id: UUID) -> None:
    """Take note of what this browser wrote last."""
    request.session["wrote"] = [position, str(page_id)]


async def has_own_writes(request: Request, store: ViewStore) -> bool:
    """Wait until a view has what this browser wrote last; tell whether it has."""
    match request.session.get("wrote"):
        case [position, page_id]:
            return await has_applied(store, position, page_id)
    return True


async def has_applied(store: ViewStore, position: int, page_id: UUID | str) -> bool:
    """Wait, within the bound, until a view has what was written of a page; tell whether it has."""
    if await store.has(position, page_id):
        return True
    try:
        await store.wait(position, page_id, seconds=WAIT_SECONDS)
    except TimeoutError:
        return False
    return True
