"""Reading your own writes: a browser carries the position of what it wrote last."""

from __future__ import annotations

from uuid import UUID

import anyio
from aiokafka.errors import KafkaError
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


async def has_applied(store: ViewStore, position: int, page_id: UUID | str | None = None) -> bool:
    """Wait, within the bound, until a view has all up to a position; tell whether it has.

    Of a single page, what was written of that is enough. While Kafka can't be asked the view is
    taken to be behind.
    """
    try:
        with anyio.fail_after(WAIT_SECONDS):
            if not await store.has(position, page_id):
                await store.wait(position, page_id, seconds=None)
    except (TimeoutError, KafkaError):
        return False
    return True
