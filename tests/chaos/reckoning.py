"""What must hold at the end: everything once, in order, unaltered, and counted exactly."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import LiteralString
from uuid import UUID

import anyio
from anyio import to_thread

from eventsourcing_kafka.compose.audit import audit
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.status import read_status as read_view_status
from eventsourcing_kafka.consumer.views.registry import view_named
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import read_status as read_relay_status
from eventsourcing_kafka.producer.runtime.applications import open_application
from eventsourcing_kafka.producer.wire import WireFormat

VIEWS = ("fts", "activity")
MOST = 10
"""Differences told of each kind."""
POLL_SECONDS = 0.3

SELECT_EDITS_OF_PAGES: LiteralString = "SELECT page_id, edits FROM {schema}.pages"
SELECT_EDITS_OF_USERS: LiteralString = """
    SELECT user_id, sum(edits)::bigint FROM {schema}.contributors GROUP BY user_id
"""
SELECT_CHANGES: LiteralString = "SELECT page_id, count(*) FROM {schema}.changes GROUP BY page_id"


class Reckoning:
    """Compares the topic and the views with the write model, all at rest."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._wiki = open_application(ContentManagement, environment)
        self._wire = WireFormat.of(self._wiki)
        self._settings = KafkaSettings.from_env(environment)
        self._stores = {name: ViewStore.of(view_named(name), environment) for name in VIEWS}

    def close(self) -> None:
        """Close the write model."""
        self._wiki.close()

    async def settled(self) -> None:
        """Wait until everything is published and applied."""
        while await self.what_is_missing():  # noqa: ASYNC110 - nobody notifies of all of it
            await anyio.sleep(POLL_SECONDS)

    async def what_is_missing(self) -> str:
        """Say what is not published or applied yet, or is parked, or has stopped."""
        relay = await read_relay_status(outbox_of(self._wiki), self._wire, self._settings)
        rows = [
            row
            for store in self._stores.values()
            for row in await read_view_status(store, self._settings)
            if row.gap != 0 or row.parked or row.stopped
        ]
        return "\n".join(map(str, [relay, *rows])) if relay.gap or rows else ""

    async def events(self) -> int:
        """Return the highest position."""
        return await outbox_of(self._wiki).head()

    async def differences(self) -> AsyncIterator[str]:
        """Yield a line about everything that is not as it must be."""
        report = await audit(self._environment, VIEWS, limit=MOST)
        if not report.clean:
            yield str(report)
        for finding in report.findings:
            yield str(finding)
        async for line in self._miscounts():
            yield line

    async def _miscounts(self) -> AsyncIterator[str]:
        """Yield what the view of activity has counted wrongly, if the audit did not find it."""
        by_page, by_user = await to_thread.run_sync(self._edits)
        for expected, statement in (
            (by_page, SELECT_EDITS_OF_PAGES),
            (by_page, SELECT_CHANGES),
            (by_user, SELECT_EDITS_OF_USERS),
        ):
            counted = await self._counted(statement)
            wrong = [key for key in expected | counted if expected[key] != counted[key]]
            for key in wrong[:MOST]:
                yield f"activity: {key} has {counted[key]} edits and not {expected[key]}"

    def _edits(self) -> tuple[Counter[UUID | None], Counter[UUID | None]]:
        """Count the events of pages, by page and by user."""
        by_page, by_user = Counter[UUID | None](), Counter[UUID | None]()
        for event in self._page_events():
            by_page[event.originator_id] += 1
            by_user[event.user_id] += 1
        return by_page, by_user

    def _page_events(self) -> Iterator[Page.Event]:
        last = 0
        while batch := self._wiki.recorder.select_notifications(last + 1, 5000):
            for event in map(self._wiki.mapper.to_domain_event, batch):
                if isinstance(event, Page.Event):
                    yield event
            last = batch[-1].id

    async def _counted(self, statement: LiteralString) -> Counter[UUID | None]:
        store = self._stores["activity"]
        async with store.connected() as connection:
            cursor = await connection.execute(store.sql(statement))
            return Counter(dict(await cursor.fetchall()))
