"""Three pages, of which one meets what it can't take in."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Self
from uuid import UUID

from eventsourcing_kafka.consumer.engine.parking import Dropped, Parked
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo
from eventsourcing_kafka.consumer.views.fts.search import search
from eventsourcing_kafka.producer.contentmanagement.diff import create_diff
from tests.pipeline import WithoutKafka, page_id, pages_of, write_page

from .poison import Event, Raw, Tamper


class Wiki(WithoutKafka):
    """Pages with one body each: `sick` and its `neighbour` in one partition, `far` in another."""

    def __init__(self, environment: Mapping[str, str], view: View = VIEW) -> None:
        super().__init__(environment, view)
        self._numbers = count()
        self.sick, self.neighbour, self.far = self._page(0), self._page(0), self._page(1)
        self.sick_id = page_id(self.wiki, self.sick)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncIterator[Self]:
        async with super().__asynccontextmanager__():
            await self.catch_up()
            yield self

    def next_event(self, **attributes: Any) -> Event:
        """Return what could be the next event of the sick page, at a position of its own."""
        attributes = attributes or {"diff": create_diff(old="one\n", new="strange\n")}
        position = self.wiki.update_body(self.far, f"{next(self._numbers)}\n")
        self.relay()
        return Event(self.sick_id, 3, position, attributes)

    def poison(self, tamper: Tamper) -> Raw:
        """Put a record that can't be applied where the next event of the sick page would be."""
        raw = tamper(self.next_event())
        self.put(*raw)
        return raw

    def go_on(self) -> None:
        """Change all pages."""
        for body in ("two\n", "three\n"):
            for slug in (self.sick, self.neighbour, self.far):
                self.wiki.update_body(slug, body)

    async def parked(self) -> Sequence[Parked]:
        """Return what is parked."""
        return await self.store.parking.select(self.connection)

    async def dropped(self) -> Sequence[Dropped]:
        """Return what was given up."""
        return await self.store.parking.dropped(self.connection)

    async def page(self, slug: str) -> PageInfo:
        """Return a page as the view has it."""
        (page,) = (page for page in await self.pages() if page.slug == slug)
        return page

    async def healthy_pages(self) -> list[PageInfo]:
        """Return what the view has of all pages but the sick one."""
        return [page for page in await self.pages() if page.id != self.sick_id]

    def expected_healthy_pages(self) -> list[PageInfo]:
        """Return what it must have of them."""
        return [page for page in pages_of(self.wiki) if page.id != self.sick_id]

    async def stale(self) -> set[UUID]:
        """Return which of all pages a search calls stale."""
        found = await search(self.store, "page OR one OR three", limit=100)
        assert len(found) == len(await self.pages())
        return {result.id for result in found if result.stale}

    def _page(self, partition: int) -> str:
        for number in self._numbers:
            slug = f"page-{number}"
            if self.partition(write_page(self.wiki, slug, "one\n")) == partition:
                return slug
        raise AssertionError
