"""A view in Postgres, and what it follows in memory, with no Kafka between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, Self

import anyio
from aiokafka import ConsumerRecord
from eventsourcing.dcb.persistence import DCBEventStore
from psycopg import AsyncConnection

from eventsourcing_kafka.compose.leaders import leader_of
from eventsourcing_kafka.consumer.engine.applying import Applier, OnError, Outcome
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, Span
from eventsourcing_kafka.consumer.engine.parking import Parked
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.outbox.tagged import notifications_in
from eventsourcing_kafka.producer.runtime.applications import AnyApplication
from eventsourcing_kafka.producer.wire import Record, wire_of
from eventsourcing_kafka.producer.wire.chain import START, Chain

PARTITIONS = 2
"""Enough for what goes wrong when there are several."""


class ViewUnderTest(anyio.AsyncContextManagerMixin):
    """A view in the database that the settings name, and its application in memory.

    What Kafka would bring is made from the application's notifications by the same wire format,
    and is applied as a consumer applies it. At the end the view stays in the database. Without an
    `application` it is the one that the view says it follows, by its `application_topic`.
    """

    connection: AsyncConnection[Any]
    """On which the view is prepared, and batches are applied."""

    def __init__(
        self,
        view: View,
        environment: Mapping[str, str],
        application: AnyApplication | None = None,
        *,
        partitions: int = PARTITIONS,
    ) -> None:
        self.application: Any = application or leader_of(view)(env={})
        self.store = ViewStore.of(view, environment)
        self.partitions = partitions
        self._writing = wire_of(self.application)
        self._reading = view.wire()
        self._position = 0
        self._chain = Chain([START] * partitions)
        self._topic: list[list[ConsumedRecord]] = [[] for _ in range(partitions)]

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncIterator[Self]:
        async with self.store.connected() as self.connection:
            await self.store.prepare(self.connection, self.partitions)
            yield self

    async def given(self, *events: Any) -> None:
        """Store some events, or tagged decisions, as they are, and apply them.

        Raises what `apply` raises.
        """
        store = self.application.events
        put = store.append if isinstance(store, DCBEventStore) else store.put
        put(list(events))
        await self.apply()

    async def apply(self, on_error: OnError = OnError.RAISE) -> Outcome:
        """Apply all that the application has stored and the view has not applied.

        Raises `CannotApplyError` for an event that can't be applied, unless those are to be parked.
        """
        seen = await self.seen()
        return await Applier(self.store, on_error).apply(self.connection, self.batch(seen), seen)

    async def replay(self) -> None:
        """Empty the view, and apply everything again."""
        await self.store.replay(self.connection)
        await self.apply()

    async def rows(self, query: LiteralString, *values: Any) -> list[tuple[Any, ...]]:
        """Return what is in the view. `{schema}` stands for its schema, `%s` for a value."""
        cursor = await self.connection.execute(self.store.sql(query), values or None)
        return await cursor.fetchall()

    async def parked(self) -> Sequence[Parked]:
        """Return what could not be applied, with the reasons."""
        return await self.store.parking.select(self.connection)

    async def seen(self) -> dict[int, Tracking]:
        """Return the tracking of each partition."""
        return dict(await self.store.tracking.read(self.connection, range(self.partitions)))

    def batch(self, seen: Mapping[int, Tracking]) -> list[Span]:
        """Return what a consumer fetches that goes on from what it has seen."""
        self.relay()
        return [
            Span(partition, start, len(records), records[start:])
            for partition, records in enumerate(self._topic)
            if len(records) > (start := seen[partition].offset)
        ]

    def relay(self) -> None:
        """Put what is new of the application into the topic, as its relay does."""
        log = notifications_in(self.application.recorder)
        while notifications := log.select_notifications(
            self._position, 1000, inclusive_of_start=False
        ):
            for notification in notifications:
                self._append(self._writing.to_record(notification))
                self._position = notification.id

    def _append(self, record: Record) -> None:
        partition = partition_of(record.key, self.partitions)
        self._chain.append(partition, record)
        self._place(partition, record.key, record.value, record.headers, record.timestamp_ms)

    def _place(
        self,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, Any]],
        timestamp_ms: int | None,
    ) -> None:
        records = self._topic[partition]
        raw = ConsumerRecord(
            "topic", partition, len(records), timestamp_ms, 0, key, value, 0, 0, 0, headers
        )
        records.append(ConsumedRecord.of(raw, self._reading, self.store.view.wanted))
