"""A generation of a view that is filled beside the active one, which answers meanwhile.

It is the same view in a schema of its own, read by a group of its own. What becomes of it when it
is full is decided by whoever has it filled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, LiteralString, NamedTuple

import anyio
import msgspec
import psycopg
from psycopg import AsyncConnection

from eventsourcing_kafka.consumer.engine.applying import Applier
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.protocol import OpenWriteModel
from eventsourcing_kafka.consumer.engine.store import ViewStore, group_of
from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking
from eventsourcing_kafka.consumer.operations.status import offsets_of, read_said
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partitions_of
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.wire.position import Said

LOOK_SECONDS = 0.02
"""So often it is looked whether what others do has come to its end."""

CONNECTIONS = 3
"""One more than live: Postgres is to have work while a part of a batch is made up."""

# A page is a small row with long texts beside the table: Postgres does not count those when it
# decides how many processes are to make an index.
INDEXING = {"min_parallel_table_scan_size": "0", "maintenance_work_mem": "256MB"}

# It gives up before Postgres finds that a search and it wait for each other, and ends the search.
DROP_IS_VICTIM: LiteralString = "SET LOCAL lock_timeout = '200ms'"

# Of the session: a rebuild that is killed leaves no lock behind.
TRY_TO_BEGIN: LiteralString = "SELECT pg_try_advisory_lock(hashtext({rebuild}))"


PROGRESS_SECONDS = 0.1

TOLD_PARKED = 3
"""Of the events that are parked in a generation, so many are told with their reasons."""


class Source(StrEnum):
    """What a new generation is filled from."""

    KAFKA = "kafka"
    """What it has deleted comes from the write model."""
    OUTBOX = "outbox"
    """The write model, up to what is published; what comes after that is from Kafka."""


class RebuildProgress(msgspec.Struct, frozen=True):
    """How far a rebuild is."""

    records: int
    """Kafka offsets read. While the write model is read it is about as many as that would be."""
    gap: int
    """Kafka offsets left, likewise."""


class Goal(NamedTuple):
    """Up to where a partition is to be filled."""

    offset: int
    """Kafka's; below 0 if only the position tells."""
    position: int | None = None
    """Of the last event that is to be there, if that is known. Where the write model is read an
    offset is a guess."""

    def left(self, seen: Tracking, offset: int) -> int:
        """Return how far it is from where a partition is, at about that offset."""
        if self.position is not None and (self.offset < 0 or seen.is_in_write_model):
            return max(0, self.position - seen.position)
        return max(0, self.offset - offset)


class AlreadyRebuildingError(OperatorError):
    """Somebody else rebuilds the view, or swaps it back."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is being rebuilt already: wait for that, or stop it.")


class GenerationStoppedError(OperatorError):
    """The new generation can't be filled to its end."""

    def __init__(self, name: str, partition: int, why: str) -> None:
        super().__init__(
            f"The new generation of {name} has stopped in partition {partition}, and the present "
            f"one stays: {why}"
        )


class TopicMissingError(OperatorError):
    """There is nothing to fill the view from."""


@asynccontextmanager
async def alone(active: ViewStore) -> AsyncIterator[AsyncConnection[Any]]:
    """Connect, as the only one who makes or removes generations of a view.

    Raises `AlreadyRebuildingError`, and `PastError` for a view as it was: that has no others.
    """
    async with active.connected(INDEXING) as connection:
        await active.present_shape(connection)
        rebuild = f"rebuild {active.schema}"
        cursor = await connection.execute(active.sql(TRY_TO_BEGIN, rebuild=rebuild))
        if await cursor.fetchone() != (True,):
            raise AlreadyRebuildingError(active.view.name)
        yield connection


class Filling:
    """Fills a generation, by an applier of its own.

    What Kafka has deleted is read from the `write_model`, if there is one, or all that is
    published, if that is the `source`. Why partitions have stopped is in `stopped`, and which the
    applier takes no further in `ended`.
    """

    def __init__(
        self,
        active: ViewStore,
        generation: ViewStore,
        settings: KafkaSettings,
        applier: Applier,
        write_model: OpenWriteModel | None,
        source: Source,
    ) -> None:
        self.stopped: Mapping[int, str] = {}
        self.ended: Collection[int] = ()
        self._active = active
        self._generation = generation
        self._settings = settings
        self._applier = applier
        self._write_model = write_model
        self._source = source
        self._said: Mapping[int, Said] = {}

    async def prepare(self, connection: AsyncConnection[Any], *, anew: bool) -> None:
        """Make the generation, unless it is there, and fits; with `anew` it is made in any case.

        Raises `TopicMissingError`.
        """
        generation = self._generation
        topic = Topics.of(generation.view.application_name, self._settings).events
        partitions = await partitions_of(topic, self._settings)
        if not partitions:
            raise TopicMissingError(f"There is no topic {topic!r} to fill the view from.")
        if anew or not await generation.fits(connection, partitions):
            await remove(connection, generation)
        await generation.prepare(connection, partitions, indexed=False)
        if self._source is Source.OUTBOX:
            await self._begin_in_write_model(connection, partitions)
        await self._active.parking.copy_dropped(connection, generation.schema)

    async def _begin_in_write_model(
        self, connection: AsyncConnection[Any], partitions: int
    ) -> None:
        """Have those partitions begin there of which nothing is applied yet."""
        found = await self._generation.tracking.read(connection, range(partitions))
        for seen in found.values():
            if not seen.position:
                await self._generation.move(connection, Move(seen, seen.in_write_model()))

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Apply to the generation while the body runs."""
        consumer = Consumer(
            self._generation,
            self._settings,
            connections=CONNECTIONS,
            indexed=False,
            applier=self._applier,
            write_model=self._write_model,
            all_published=self._source is Source.OUTBOX,
            parked_hint="they are listed once it is swapped in, or named if they keep it from that",
            # One at a time is filled: whatever its schema, that one has the right to this group.
            group=group_of(self._active.next_generation(), self._settings),
        )
        self.stopped, self.ended = consumer.stopped, consumer.ended
        async with anyio.create_task_group() as filling:
            filling.start_soon(consumer.run)
            yield
            filling.cancel_scope.cancel()

    async def progress(
        self, connection: AsyncConnection[Any], goals: Mapping[int, Goal]
    ) -> RebuildProgress:
        """Return how far it is on its way to its goals. Raises `GenerationStoppedError`."""
        for partition, why in self.stopped.items():
            raise GenerationStoppedError(self._active.view.name, partition, why)
        reached = await self._generation.tracking.read(connection, list(goals))
        if any(seen.is_in_write_model for seen in reached.values()):
            self._said = self._said or await read_said(self._generation, self._settings)
        offsets = offsets_of(reached, self._said)
        return RebuildProgress(
            sum(offsets.values()),
            sum(goals[number].left(seen, offsets[number]) for number, seen in reached.items()),
        )


async def remove(connection: AsyncConnection[Any], store: ViewStore) -> None:
    """Drop a generation, when the searches are over that have found it under its earlier name."""
    while True:
        try:
            async with connection.transaction():
                await connection.execute(DROP_IS_VICTIM)
                await connection.execute(store.sql("DROP SCHEMA IF EXISTS {schema} CASCADE"))
        except psycopg.errors.LockNotAvailable:
            await anyio.sleep(LOOK_SECONDS)
        else:
            return
