"""The write model and the views, as the routes need them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from anyio import to_thread
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import IntegrityError, OperationalError
from starlette.requests import Request

from eventsourcing_kafka.consumer.engine.store import ViewMissingError, ViewStore
from eventsourcing_kafka.consumer.views.fts.reading import read_titles
from eventsourcing_kafka.consumer.views.fts.search import Searcher
from eventsourcing_kafka.consumer.views.registry import view_named
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.contentmanagement.people import People
from eventsourcing_kafka.producer.runtime.applications import open_application

T = TypeVar("T")

ATTEMPTS = 3
"""At a command that meets another one. Which of them was first decides what the next one says."""

CONNECTIONS = 4
"""To a view, at most."""


class NoSuchVersionError(LookupError):
    """A page has never been at a version."""

    def __init__(self, version: int) -> None:
        super().__init__(f"The page has no version {version}.")


class Listed(NamedTuple):
    """A page in the list of all pages."""

    number: int
    id: UUID
    slug: str
    title: str


class Wiki:
    """The wiki's write model, its search view and its activity view."""

    def __init__(self, app: ContentManagement, environment: Mapping[str, str]) -> None:
        self._app = app
        self._people = People(app)
        self._remembered: dict[UUID, str] = {}
        self.search = ViewStore.of(view_named("fts"), environment)
        self.searcher = Searcher(self.search)
        self.activity = ViewStore.of(view_named("activity"), environment)

    @asynccontextmanager
    async def connected_to_views(self) -> AsyncIterator[None]:
        """Keep the connections to the views open meanwhile."""
        async with (
            self.search.kept_open(CONNECTIONS),
            self.activity.kept_open(CONNECTIONS),
            self.searcher,
        ):
            yield

    async def do(self, command: Callable[..., int], *arguments: Any, **named: Any) -> int:
        """Give a command of the application; again, if it meets another one."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._in_thread(command, *arguments, **named)
            except IntegrityError:
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError

    @property
    def commands(self) -> ContentManagement:
        """The application whose commands `do` gives."""
        return self._app

    async def page_id(self, slug: str) -> UUID:
        """Return the ID of a page. Raises `PageNotFoundError`."""
        return await self._in_thread(self._app.get_page_id, slug)

    async def written(self, position: int) -> UUID:
        """Return the ID of the page that a command has written, which has returned `position`."""
        (last,) = await self._in_thread(self._app.recorder.select_notifications, position, 1)
        return UUID(str(last.originator_id))

    async def page(self, page_id: UUID, version: int | None = None) -> Page:
        """Return a page as the write model has it, now or at an earlier version.

        Raises the library's `AggregateNotFoundError`.
        """

        def get() -> Page:
            return self._app.repository.get(page_id, version=version)

        return await self._in_thread(get)

    async def earlier(self, page_id: UUID, version: int) -> Page:
        """Return a page as it was at a version. Raises `NoSuchVersionError`."""
        try:
            page = await self.page(page_id, version)
        except AggregateNotFoundError:
            raise NoSuchVersionError(version) from None
        if page.version != version:
            raise NoSuchVersionError(version)
        return page

    async def changes(self, page_id: UUID, *, before: int, limit: int) -> Sequence[Page.Event]:
        """Return the last changes of a page up to a version, the newest first."""

        def get() -> Sequence[Any]:
            events = self._app.events.get(page_id, lte=before, desc=True, limit=limit)
            return [event for event in events if isinstance(event, Page.Event)]

        return await self._in_thread(get)

    async def count(self) -> int:
        """Return how many pages there are, which is the number of the last one."""

        def get() -> int:
            last = self._app.page_log.get_last()
            return last.originator_version if last else 0

        return await self._in_thread(get)

    async def pages(
        self, *, gt: int | None, lte: int | None, desc: bool, limit: int
    ) -> Sequence[Listed]:
        """Return some pages in the order of their creation, as the log of pages numbers them.

        Titles and slugs are the search view's, of pages that it has not got the write model's.
        """

        def get() -> Sequence[tuple[int, UUID]]:
            logged = self._app.page_log.get(gt=gt, lte=lte, desc=desc, limit=limit)
            return [(entry.originator_version, entry.page_id) for entry in logged]

        numbered = await self._in_thread(get)
        known: Mapping[UUID, tuple[str, str]] = {}
        with suppress(ViewMissingError):
            known = await read_titles(self.search, [page_id for _, page_id in numbered])
        return [
            Listed(number, page_id, *(known.get(page_id) or await self._named(page_id)))
            for number, page_id in numbered
        ]

    async def _named(self, page_id: UUID) -> tuple[str, str]:
        page = await self.page(page_id)
        return page.slug, page.title

    async def names(self, user_ids: Collection[UUID | None]) -> Mapping[UUID, str]:
        """Return what users are called, of those that are known."""
        return await self._in_thread(self._people.names, user_ids)

    async def remember(self, user_id: UUID, name: str) -> None:
        """Take note of what a user, who changes the wiki, is called now."""
        if self._remembered.get(user_id) != name:
            await self._in_thread(self._people.remember, {user_id: name})
            self._remembered[user_id] = name

    async def forget(self, user_id: UUID) -> None:
        """Delete what a user is called."""
        self._remembered.pop(user_id, None)
        await self._in_thread(self._people.forget, user_id)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        # A database that is gone is waited for in vain: the browser has gone before.
        return await to_thread.run_sync(
            lambda: function(*arguments, **named), abandon_on_cancel=True
        )


@contextmanager
def opened_wiki(environment: Mapping[str, str]) -> Iterator[Wiki]:
    """Open the write model, and close it at the end."""
    app = open_application(ContentManagement, environment)
    try:
        yield Wiki(app, environment)
    finally:
        app.close()


def wiki_of(request: Request) -> Wiki:
    """Return the wiki that a request is about. Raises `OperationalError` until it is open."""
    wiki: Wiki | None = request.app.state.wiki
    if wiki is None:
        raise OperationalError
    return wiki
