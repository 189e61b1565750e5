"""A view as it was at a position: a generation of its own, which stays beside the active one.

It is filled as a rebuild fills one, and each partition comes to the last of its records at or below
the position, and no further. Then nobody moves it any more: its tracking is in a shape that no
consumer's code has. It is read by the name of its schema, until it is dropped by that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, LiteralString

import anyio
import msgspec
import psycopg
from psycopg import AsyncConnection

from eventsourcing_kafka.consumer.engine.applying import Applied, Applier, Outcome
from eventsourcing_kafka.consumer.engine.batch import Span, follow
from eventsourcing_kafka.consumer.engine.parking import Listed
from eventsourcing_kafka.consumer.engine.protocol import Again, OpenWriteModel, Store
from eventsourcing_kafka.consumer.engine.store import (
    FILLED,
    FILLING,
    NOT_THERE,
    ViewMissingError,
    ViewStore,
    replayable,
)
from eventsourcing_kafka.consumer.engine.tracking import LONGEST_NAME, Tracking
from eventsourcing_kafka.consumer.operations.filling import (
    PROGRESS_SECONDS,
    TOLD_PARKED,
    Filling,
    Goal,
    RebuildProgress,
    Source,
    alone,
    remove,
)
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.wire.position import NOTHING, Published, Said, read_published

SELECT_SCHEMAS: LiteralString = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)"


class AsOf(msgspec.Struct, frozen=True):
    """A view as it was at a position."""

    schema: str
    """Where its tables are."""
    position: int
    """No event above it is applied."""
    is_whole: bool
    """Whether all events up to it are; else it was interrupted, and goes on when asked for."""
    parked: int
    """Events that could not be applied to it."""
    first_parked: Sequence[Listed] = ()


class BeyondTheHeadError(OperatorError):
    """Nobody knows yet what there will be."""

    def __init__(self, name: str, position: int, head: int) -> None:
        super().__init__(
            f"The events of {name} are published up to position {head}, and {position} is beyond."
        )


class OccupiedError(OperatorError):
    """What is there is not ours to replace."""


class NoSuchGenerationError(OperatorError):
    """There is nothing of that name to drop."""

    def __init__(self, name: str, there_are: Collection[str]) -> None:
        found = f"There are: {', '.join(there_are)}." if there_are else "There is none."
        super().__init__(f"{name} is no view as it was at a position. {found}")


class _UpTo(Applier):
    """Applies up to a position, and ends each partition before the first record that is beyond."""

    def __init__(self, store: Store, position: int) -> None:
        super().__init__(store)
        self._position = position

    async def apply(
        self, connection: Any, batch: Sequence[Span], seen: Mapping[int, Tracking]
    ) -> Outcome:
        """Apply what is not beyond, and tell which partitions are at their end by that."""
        allowed = [self._allowed(span, seen[span.partition]) for span in batch]
        outcome = await super().apply(connection, allowed, seen)
        if not isinstance(outcome, Applied):
            return outcome
        pairs = zip(allowed, batch, strict=True)
        ended = {short.partition for short, span in pairs if short != span}
        return replace(outcome, ended=ended - {*outcome.stopped, *outcome.broken})

    def _allowed(self, span: Span, seen: Tracking) -> Span:
        # An operator's skip may have led beyond the position: what lies before it is passed over.
        limit = max(self._position, seen.position)
        for record in span.records:
            if record.envelope and record.envelope.position > limit:
                short = span.before(record.offset)
                last = follow(short, seen).move.to.link
                # What does not follow is a break: applying it finds that, and leaves it out.
                return short if record.envelope.predecessor == last.text else span
        return span


class ViewAsOf:
    """Makes a view as it was at a position. What an interrupted run has filled is gone on with.

    Every `progress_seconds` it looks how far it is. What Kafka has deleted is read from the
    `write_model`, if there is one, or all that is published, if that is the `source`.

    Raises `NotReplayableError` for a follower.
    """

    def __init__(
        self,
        store: Store,
        settings: KafkaSettings,
        position: int,
        *,
        progress_seconds: float = PROGRESS_SECONDS,
        write_model: OpenWriteModel | None = None,
        source: Source = Source.KAFKA,
    ) -> None:
        self._active = active = replayable(store, Again.REBUILT)
        self._past = past = active.as_of(position)
        self._position = position
        self._settings = settings
        self._progress_seconds = progress_seconds
        self._filling = Filling(active, past, settings, _UpTo(past, position), write_model, source)

    async def run(self, report: Callable[[RebuildProgress], None], *, anew: bool = False) -> AsOf:
        """Fill it, make its indexes, and seal it; or find it done, unless it is to be made `anew`.

        Raises `BeyondTheHeadError`, `ViewMissingError` without an active one, `OccupiedError`,
        `AlreadyRebuildingError`, `GenerationStoppedError`.
        """
        async with alone(self._active) as connection:
            if not await self._active.exists(connection):
                raise ViewMissingError(self._active.view)
            published = await self._published()
            await self._check_free(connection, anew=anew)
            if anew or not await self._past.is_sealed(connection):
                await self._filling.prepare(connection, anew=anew)
                async with self._filling.going_on():
                    await self._filled(connection, report, dict(enumerate(published.said)))
                async with connection.transaction():
                    await self._past.create_indexes(connection)
                    await self._past.seal(connection)
            found = await _found(connection, self._past, self._position)
            listed = await self._past.parking.listed(connection, after=0, limit=TOLD_PARKED)
            return msgspec.structs.replace(found, first_parked=listed)

    async def _published(self) -> Published:
        """Return a position record that is not below the position."""
        name = self._active.view.application_name
        published = await read_published(Topics.of(name, self._settings), self._settings)
        head = published.position if published else 0
        if not published or head < self._position:
            raise BeyondTheHeadError(name, self._position, head)
        return published

    async def _check_free(self, connection: AsyncConnection[Any], *, anew: bool) -> None:
        """See that what is there under its name may be gone on with, or replaced."""
        past = self._past
        if len(past.schema.encode()) > LONGEST_NAME:
            raise OccupiedError(
                f"{past.schema} is longer than a name in Postgres can be, which is {LONGEST_NAME} "
                f"bytes: give the view a shorter one, as POSTGRES_SCHEMA."
            )
        cursor = await connection.execute(SELECT_SCHEMAS, [past.schema])
        if (past.schema,) not in await cursor.fetchall():
            return
        found = await _state(connection, past)
        if not found:
            raise OccupiedError(
                f"There is a schema {past.schema} already, and it was not made by this command: "
                "rename it."
            )
        if found == FILLED and not anew and not await past.is_sealed(connection):
            raise OccupiedError(
                f"{past.schema} was made by other code, or with other settings: read it as it is, "
                "or make it again, with --anew."
            )

    async def _filled(
        self,
        connection: AsyncConnection[Any],
        report: Callable[[RebuildProgress], None],
        said: Mapping[int, Said],
    ) -> None:
        """Wait until each partition has its last record at or below the position."""
        goals = {number: Goal(each.about(self._position)) for number, each in said.items()}
        while True:
            report(await self._filling.progress(connection, goals))
            reached = await self._past.tracking.read(connection, list(said))
            if all(self._is_at_its_end(seen, said) for seen in reached.values()):
                return
            await anyio.sleep(self._progress_seconds)

    def _is_at_its_end(self, seen: Tracking, said: Mapping[int, Said]) -> bool:
        """Tell whether a partition has come to what is beyond, or to the last that it has."""
        last = said.get(seen.partition, NOTHING)
        if last.position > self._position:
            return seen.partition in self._filling.ended
        return seen.link == last.link


async def generations(store: Store) -> Sequence[AsOf]:
    """Return what there is of a view as it was, the oldest position first."""
    active = replayable(store, Again.REBUILT)
    async with active.connected() as connection:
        return await _generations(connection, active)


async def drop_generation(store: Store, schema: str) -> None:
    """Drop a view as it was, by its schema's name, when the searches in it are over.

    Raises `NoSuchGenerationError`, and `AlreadyRebuildingError` while one of the view is filled.
    """
    active = replayable(store, Again.REBUILT)
    async with alone(active) as connection:
        there_are = {each.schema: each for each in await _generations(connection, active)}
        if schema not in there_are:
            raise NoSuchGenerationError(schema, there_are)
        await remove(connection, active.as_of(there_are[schema].position))


async def _generations(connection: AsyncConnection[Any], active: ViewStore) -> Sequence[AsOf]:
    cursor = await connection.execute(SELECT_SCHEMAS, [f"{active.schema}_at_"])
    names = [name.removeprefix(f"{active.schema}_at_") for (name,) in await cursor.fetchall()]
    positions = sorted(int(name) for name in names if re.fullmatch("[1-9][0-9]*", name, re.ASCII))
    found = []
    for position in positions:
        store = active.as_of(position)
        # It may be dropped meanwhile, or be somebody else's, whom we may not read.
        with suppress(*NOT_THERE, psycopg.errors.InsufficientPrivilege):
            if await _state(connection, store):
                found.append(await _found(connection, store, position))
    return found


async def _state(connection: AsyncConnection[Any], store: ViewStore) -> str:
    """Return whether it is being filled or is filled, by whatever code; empty if it is not ours."""
    _, state, _ = f"{await store.tracking.shape(connection)}  ".split(" ", 2)
    return state if state in (FILLING, FILLED) else ""


async def _found(connection: AsyncConnection[Any], store: ViewStore, position: int) -> AsOf:
    is_whole = await _state(connection, store) == FILLED
    return AsOf(store.schema, position, is_whole, await store.parking.count(connection))
