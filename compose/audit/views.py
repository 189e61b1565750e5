"""Compares the rows of a view with the events up to its tracked positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, IsolationLevel

from eventsourcing_kafka.compose.audit.position_set import PositionSet
from eventsourcing_kafka.compose.audit.records import TopicReader
from eventsourcing_kafka.compose.audit.report import Fault, Finding, Findings, ViewReport
from eventsourcing_kafka.compose.audit.topic import BLOCK, Advance
from eventsourcing_kafka.compose.audit.tracking import SetAside, TrackingAudit
from eventsourcing_kafka.compose.audit.write_model import WriteModel
from eventsourcing_kafka.consumer.audit import (
    AggregateHistory,
    AuditedEvent,
    Comparison,
    Difference,
    Disposition,
)
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.wire import WireFormat

# While it is held no rebuild swaps the view for another. Before the snapshot is taken.
HOLD_GENERATION: LiteralString = "LOCK TABLE {schema}.tracking IN ROW SHARE MODE"

SELECT_PARKED: LiteralString = """
    SELECT partition, record_offset, record_offset, position, originator_id
      FROM {schema}.parked
     WHERE application = %s
"""

SELECT_DROPPED: LiteralString = """
    SELECT partition, first_offset, last_offset, position, originator_id
      FROM {schema}.dropped
     WHERE application = %s
"""


NO_AUDIT = "its rows, as the view brings no audit"
FOLLOWER = "its rows, as only a follower's policy knows what they must be"
"""Also of an application: what it has recorded may be in a topic, and that it is there unaltered
does not tell that it follows from what the application has followed."""
AS_ASKED = "its rows, as was asked"


class Snapshot(NamedTuple):
    """What a view says of itself."""

    trackings: Mapping[int, Tracking]
    parked: Sequence[SetAside]
    dropped: Sequence[SetAside]

    def tracking_audits(self, view: str) -> list[TrackingAudit]:
        """Return what compares the trackings with the topic."""
        return [
            TrackingAudit(
                view,
                tracking,
                [event for event in (*self.parked, *self.dropped) if event.partition == number],
            )
            for number, tracking in self.trackings.items()
        ]


class ViewAudit:
    """Compares one view with the write model, in one snapshot of it.

    Its rows are compared where it brings an audit, unless they are not to be. Parked events and
    drops are in memory, by their positions alone.
    """

    def __init__(
        self,
        store: ViewStore,
        model: WriteModel,
        wire: WireFormat,
        domain_event_of: Callable[[Any], Any],
        reader: TopicReader,
        findings: Findings,
        advance: Advance,
        *,
        rows: bool = True,
    ) -> None:
        self.tracking_audits: list[TrackingAudit] = []
        self._store = store
        self._model = model
        self._wire = wire
        self._domain_event_of = domain_event_of
        self._reader = reader
        self._findings = findings
        self._advance = advance
        self._rows = rows
        self._parked: set[int | None] = set()
        self._unreadable: set[str | None] = set()
        self._unsure = PositionSet()
        self._events = 0
        self._read = 0

    async def run(self) -> ViewReport:
        """Compare all rows. What the trackings say is in `tracking_audits` then."""
        view = self._store.view
        async with self._store.connected() as connection:
            if not await self._store.exists(connection):
                why = "as no consumer has made it yet"
                return ViewReport(view.name, exists=False, omitted=why)
            await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            async with connection.transaction():
                await connection.execute(self._store.sql(HOLD_GENERATION))
                snapshot = await self._snapshot(connection)
                self.tracking_audits = snapshot.tracking_audits(view.name)
                await self._note_set_aside(snapshot)
                rows = await self._compare_rows(connection, snapshot.trackings)
        return ViewReport(
            view.name,
            exists=True,
            events=self._events,
            rows=dict(rows),
            parked=len(snapshot.parked),
            dropped=len(snapshot.dropped),
            omitted=self._omitted(),
            as_asked=not self._rows,
        )

    def _omitted(self) -> str:
        """Tell what is not compared, and why."""
        view = self._store.view
        if not self._rows:
            return AS_ASKED
        if view.system:
            return FOLLOWER
        return NO_AUDIT if view.audit is None else ""

    async def _snapshot(self, connection: AsyncConnection[Any]) -> Snapshot:
        rows = await self._store.tracking.progress(connection)
        application = [self._store.view.application_name]
        parked = await connection.execute(self._store.sql(SELECT_PARKED), application)
        dropped = await connection.execute(self._store.sql(SELECT_DROPPED), application)
        return Snapshot(
            {row.tracking.partition: row.tracking for row in rows},
            [SetAside(*row) async for row in parked],
            [SetAside(*row) async for row in dropped],
        )

    async def _note_set_aside(self, snapshot: Snapshot) -> None:
        """Note the positions of what may not be in the rows."""
        self._parked = {event.position for event in snapshot.parked}
        every = (*snapshot.parked, *snapshot.dropped)
        self._unreadable = {event.originator_id for event in every if event.is_unreadable}
        for event in snapshot.dropped:
            if event.position is not None:
                self._unsure.add(event.position)
            elif event.is_range:
                await self._note_skipped(event)

    async def _note_skipped(self, event: SetAside) -> None:
        partition, first, last, *_ = event
        async with aclosing(self._reader.positions(partition, first, last)) as positions:
            async for position in positions:
                self._unsure.add(position)

    async def _compare_rows(
        self, connection: AsyncConnection[Any], trackings: Mapping[int, Tracking]
    ) -> Counter[str]:
        audit, view = self._store.view.audit, self._store.view.name
        if len(trackings) != self._reader.partitions:
            what = f"it tracks {len(trackings)} partitions, and there are {self._reader.partitions}"
            where = f"{view}.tracking"
            self._findings.add(Finding(where=where, fault=Fault.POSITION, what=what))
            return Counter()
        if audit is None or not self._rows:
            return Counter()
        comparison = Comparison(connection, self._store.schema, self._found)
        async with aclosing(self._stored(trackings)) as stored:
            await audit(comparison, _by_aggregate(stored))
        return comparison.compared

    async def _stored(
        self, trackings: Mapping[int, Tracking]
    ) -> AsyncGenerator[tuple[UUID | str, AuditedEvent], None]:
        """Yield the events that the view wants and is past, aggregate by aggregate, and of which.

        Of tagged decisions it is what they are ordered by.
        """
        view, head = self._store.view, await self._model.head()
        async with aclosing(self._model.by_aggregate(head)) as notifications:
            async for notification in notifications:
                self._read += 1
                if self._read % BLOCK == 0:
                    self._advance(view.name, self._read, head)
                key = self._wire.key_of(notification)
                partition = partition_of(key, len(trackings))
                if notification.id > trackings[partition].position:
                    continue
                self._events += 1
                topic = notification.topic
                if view.wanted.find(topic):
                    event = self._domain_event_of(notification)
                    disposition = self._disposition(notification.id, key.decode())
                    aggregate = notification.originator_id or key.decode()
                    yield aggregate, AuditedEvent(event, partition, disposition)
        self._advance(view.name, head, head)

    def _disposition(self, position: int, originator_id: str) -> Disposition:
        if originator_id in self._unreadable or position in self._unsure:
            return Disposition.UNSURE
        return Disposition.PARKED if position in self._parked else Disposition.APPLIED

    def _found(self, difference: Difference) -> None:
        fault, table, originator_id, what = difference
        self._findings.add(
            Finding(
                where=f"{self._store.view.name}.{table}",
                fault=Fault(fault.value),
                aggregate=str(originator_id) if originator_id else None,
                what=what,
            )
        )


async def _by_aggregate(
    stored: AsyncIterator[tuple[UUID | str, AuditedEvent]],
) -> AsyncIterator[AggregateHistory]:
    """Yield the events of each aggregate, to be read to their end before the next."""
    following = await anext(stored, None)

    async def events(originator_id: UUID | str) -> AsyncIterator[AuditedEvent]:
        nonlocal following
        while following and following[0] == originator_id:
            yield following[1]
            following = await anext(stored, None)

    while following:
        originator_id, event = following
        yield AggregateHistory(originator_id, event.partition, events(originator_id))
