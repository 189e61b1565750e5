"""A view in Postgres: what defines one, and how a batch goes into it in one transaction."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, LiteralString, NamedTuple, Self
from uuid import UUID

import anyio
import psycopg
from eventsourcing.postgres import PostgresFactory
from eventsourcing.utils import Environment
from psycopg import AsyncConnection, sql

from consumer.subscription import Item, Span
from consumer.tracking import Move, Tracking, TrackingTable
from consumer.unit_of_work import UnitOfWork
from producer.wire import EventTypes, partition_of
from producer.wire.endurance import connect_arguments

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 1.0
"""While waiting for a position: a pooler may swallow the NOTIFY."""


@dataclass(frozen=True)
class View:
    """What defines a view. A folder of `consumer` that has one as `VIEW` is a view."""

    name: str
    """Names its group, its schema, and the prefix of its settings."""
    application_name: str
    """The application whose events it follows."""
    types: EventTypes
    """All event types of that application."""
    wanted: EventTypes
    """Those that its policy applies; others only move the tracking."""
    create: Sequence[LiteralString]
    """Statements that create its tables in `{schema}`, with `settings` filled in by their names."""
    unit_of_work: Callable[[str], UnitOfWork]
    """Returns what one batch reads and writes, in the schema given."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What shapes the tables, with defaults: `language` is set by `FTS_LANGUAGE`, for one."""


class Applied(NamedTuple):
    """The batch is in the view, and the tracking has moved."""

    trackings: Sequence[Tracking]
    events: int
    already_seen: int
    """Records whose position had been applied before."""


class Moved(NamedTuple):
    """Somebody else moved the tracking: nothing of the batch is in the view."""

    trackings: Sequence[Tracking]


class _MovedByAnotherError(Exception):
    """Rolls the transaction back."""


class ShapeChangedError(Exception):
    """The code makes the view's tables otherwise than they were made."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The tables of {name} were made by other code, or with other settings. "
            f"Fill new ones beside them and swap: python -m consumer rebuild {name}"
        )


class CannotApplyError(Exception):
    """An event can't be applied to the view."""

    def __init__(self, partition: int, item: Item, reason: Exception) -> None:
        where = f"partition {partition}, offset {item.offset}"
        if item.envelope:
            where += f", position {item.envelope.position}"
        super().__init__(f"{reason} ({where})")


class ViewStore:
    """A view's rows and its tracking, in one schema of one Postgres database."""

    def __init__(
        self, view: View, connect: dict[str, Any], schema: str, settings: Mapping[str, str]
    ) -> None:
        self.view = view
        self.schema = schema
        self._settings = settings
        self.tracking = TrackingTable(schema, view.application_name)
        self._connect = connect

    @classmethod
    def of(cls, view: View, env: Mapping[str, str]) -> Self:
        """Find a view by the library's settings, prefixed with its name: `FTS_POSTGRES_DBNAME`."""
        named = Environment(view.name, dict(env))
        datastore = PostgresFactory(named).datastore
        schema = named.get(PostgresFactory.POSTGRES_SCHEMA) or view.name
        settings = {
            name: named.get(name.upper()) or default for name, default in view.settings.items()
        }
        return cls(view, connect_arguments(datastore), schema, settings)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Open a connection, and close it at the end."""
        connection = await AsyncConnection.connect(
            **self._connect,
            autocommit=True,
            application_name=self.view.name,
            # Long words that no index takes are a NOTICE each.
            options="-c client_min_messages=warning",
        )
        async with connection:
            yield connection

    async def prepare(self, connection: AsyncConnection[Any], partitions: int) -> None:
        """Create the schema, the tables and the tracking rows, if they are not there.

        Raises `ShapeChangedError` if they are, and would be created otherwise today.
        """
        async with connection.transaction():
            # Of two consumers that start at once, one waits.
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtext(%s))", [f"prepare {self.schema}"]
            )
            shape = await self._shape(connection)
            if shape is None:
                await self._create(connection, partitions)
            elif shape != self._fingerprint:
                raise ShapeChangedError(self.view.name)
        # Without waiting for the disk at commit. After a crash of the database the view and its
        # tracking are both as they were shortly before, and Kafka still has the records.
        await connection.execute("SET synchronous_commit = off")

    async def _shape(self, connection: AsyncConnection[Any]) -> str | None:
        """Return the fingerprint of the statements that made the tables; None before them."""
        tracking = sql.Identifier(self.schema, "tracking").as_string()
        cursor = await connection.execute("SELECT obj_description(to_regclass(%s))", [tracking])
        row = await cursor.fetchone()
        return row[0] if row else None

    async def _create(self, connection: AsyncConnection[Any], partitions: int) -> None:
        names = {name: sql.Literal(value) for name, value in self._settings.items()}
        schema = sql.Identifier(self.schema)
        await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
        await self.tracking.create(connection, partitions)
        for statement in self.view.create:
            await connection.execute(sql.SQL(statement).format(schema=schema, **names))
        await connection.execute(
            sql.SQL("COMMENT ON TABLE {}.tracking IS {}").format(
                schema, sql.Literal(self._fingerprint)
            )
        )

    @property
    def _fingerprint(self) -> str:
        shape = repr((self.view.create, sorted(self._settings.items())))
        return f"shape {sha256(shape.encode()).hexdigest()[:16]}"

    async def apply(
        self,
        connection: AsyncConnection[Any],
        batch: Sequence[Span],
        seen: Mapping[int, Tracking],
    ) -> Applied | Moved:
        """Apply a batch, and move the tracking from exactly what was `seen`, all or nothing.

        Raises `CannotApplyError` for an event that the policy refuses.
        """
        moves = [Move(seen[span.partition], span.moved(seen[span.partition])) for span in batch]
        items = [
            (span.partition, item)
            for span in batch
            for item in span.items
            if item.envelope is None or item.envelope.position > seen[span.partition].position
        ]
        try:
            async with connection.transaction():
                await self._move(connection, moves)
                await self._apply_items(connection, items)
                await connection.execute("SELECT pg_notify(%s, '')", [self._channel])
        except _MovedByAnotherError:
            partitions = [span.partition for span in batch]
            return Moved(list((await self.tracking.read(connection, partitions)).values()))
        already_seen = sum(len(span.items) for span in batch) - len(items)
        return Applied([move.to for move in moves], len(items), already_seen)

    async def _move(self, connection: AsyncConnection[Any], moves: Sequence[Move]) -> None:
        if not await self.tracking.move(connection, moves):
            raise _MovedByAnotherError

    async def _apply_items(
        self, connection: AsyncConnection[Any], items: Collection[tuple[int, Item]]
    ) -> None:
        unit = self.view.unit_of_work(self.schema)
        events = [item.event for _, item in items if item.event]
        if events:
            await unit.read(connection, events)
        for partition, item in items:
            try:
                _apply_item(unit, item)
            except Exception as reason:
                raise CannotApplyError(partition, item, reason) from reason
        if events:
            await unit.write(connection)

    async def wait(
        self, position: int, originator_id: UUID | str, *, seconds: float | None = 10.0
    ) -> None:
        """Wait until the view has applied the notification of `originator_id` at `position`.

        So you read your own writes. It is woken as soon as the view is there. Raises
        `TimeoutError` if it is not within `seconds`; None waits for ever.
        """
        with anyio.fail_after(seconds):
            async with self.connected() as connection:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                while not await self._has(connection, position, str(originator_id).encode()):
                    async for _ in connection.notifies(timeout=LOOK_AGAIN_SECONDS, stop_after=1):
                        break

    async def _has(self, connection: AsyncConnection[Any], position: int, key: bytes) -> bool:
        try:
            partitions = await self.tracking.count(connection)
            if not partitions:
                return False
            partition = partition_of(key, partitions)
            tracking = await self.tracking.read(connection, [partition])
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return False  # No consumer has been here yet.
        return tracking[partition].position >= position

    @property
    def _channel(self) -> str:
        return f"{self.schema}_tracking"


def _apply_item(unit: UnitOfWork, item: Item) -> None:
    if item.error:
        raise item.error
    if item.event:
        unit.apply(item.event)
