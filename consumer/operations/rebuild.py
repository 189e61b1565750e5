"""A new generation of a view, filled beside the active one and then put in its place.

Its indexes are made at the end. When it has caught up, the two schemas swap their names in one
transaction: searches see the one or the other. Running consumers find other positions in the
tracking, and go on from there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from math import inf
from typing import Any, LiteralString, NamedTuple

import anyio
from aiokafka.errors import KafkaError
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.consumer.engine.applying import Applier, Deferred, Outcome
from eventsourcing_kafka.consumer.engine.batch import Span
from eventsourcing_kafka.consumer.engine.parking import Listed
from eventsourcing_kafka.consumer.engine.protocol import Again, OpenWriteModel, Store
from eventsourcing_kafka.consumer.engine.store import ViewMissingError, ViewStore, replayable
from eventsourcing_kafka.consumer.engine.tracking import NOWHERE, Tracking
from eventsourcing_kafka.consumer.operations.comparison import Compared, compare
from eventsourcing_kafka.consumer.operations.filling import (
    LOOK_SECONDS,
    PROGRESS_SECONDS,
    TOLD_PARKED,
    Filling,
    Goal,
    RebuildProgress,
    Source,
    TopicMissingError,
    alone,
    remove,
)
from eventsourcing_kafka.consumer.operations.status import read_ends, read_said
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.printable import printable
from eventsourcing_kafka.producer.runtime.retry import SessionLostError
from eventsourcing_kafka.producer.wire.position import Said

GOAL_SECONDS = 1.0
SAME_SECONDS = 30.0
"""How long to wait for both generations to come to the same positions; before a swap, how long
while the new one comes no nearer."""
NEARLY = 1000
"""With so many offsets left it is time to swap: writers that never pause leave some always."""

Judge = Callable[[Sequence[Compared]], Awaitable[bool]]
"""Says whether to swap, of what was compared."""


SELECT_FUNCTIONS: LiteralString = """
    SELECT pg_get_functiondef(pg_proc.oid)
      FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
     WHERE nspname = %s AND prosqlbody IS NULL AND prokind IN ('f', 'p') AND strpos(prosrc, %s) > 0
"""
"""Those of a schema that say a name in their bodies."""

REFUSED = "refused"
"""The shape of a generation that was not to be: it may be looked at, and nobody goes on with it."""


class KeptMissingError(OperatorError):
    """No earlier generation was kept."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"No earlier generation of {name} was kept: use --keep when you rebuild it."
        )


class MoreParkedError(OperatorError):
    """The new generation can't apply what the present one has applied."""

    def __init__(self, view: View, parked: int, before: int, first: Sequence[Listed]) -> None:
        reasons = "; ".join(
            printable(f"{each.type or 'an event'} of {each.originator_id}: {each.reason}")
            for each in first
        )
        super().__init__(
            f"The new generation of {view.name} has {parked} events parked, and the present one "
            f"{before}, so they were not swapped. The first of them: {reasons}. "
            "Is the code of this process older, or was it mended since? Rebuild with that of the "
            "consumers, and with --anew; or have it so: "
            f"eventsourcing-kafka consumer rebuild {view.arguments} --even-if-parked"
        )


class NotComparableError(OperatorError):
    """The generations can't be brought to the same positions."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"The two generations of {name} can't be compared, and the present one stays: {why}"
        )


class NotLevelError(OperatorError):
    """The new generation does not come to where the active one is."""

    def __init__(self, name: str, gap: int) -> None:
        super().__init__(
            f"The new generation of {name} comes no nearer to the present one, which stays: {gap} "
            "are left, and nothing brings them. Is the write model's database away, or was the "
            "topic made anew, and its relay does not run? The next rebuild goes on from here."
        )


class _InKafka(NamedTuple):
    """What Kafka has of each partition, and what the position record says of it."""

    ends: Mapping[int, int]
    said: Mapping[int, Said]

    def as_far_as(self, offsets: Mapping[int, int], positions: Sequence[int]) -> Mapping[int, Goal]:
        """Return the goal of having what the active one has, as far as it is there.

        That may follow a topic that is no more, and was longer. If it had another count of
        partitions an event of each may be in any: then all have to come as far as its farthest.
        """
        goals: dict[int, Goal] = {}
        # A position record of another count is that of a topic that is no more.
        last = self.said if len(self.said) == len(self.ends) else {}
        for number, end in self.ends.items():
            if len(positions) == len(self.ends):
                offset, position = min(offsets[number], end), positions[number]
            else:
                offset, position = NOWHERE, max(positions, default=0)
            if said := last.get(number):
                goals[number] = Goal(offset, min(position, said.position))
            else:
                goals[number] = Goal(end if offset < 0 else offset)
        return goals


class _NotAhead(Applier):
    """Applies up to some positions, where it is told to, and no further."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._ceiling: Sequence[int] | None = None
        self._raised = anyio.Event()

    def let_come_to(self, positions: Sequence[int] | None) -> None:
        """Apply up to these positions, one of each partition, or without them all that comes."""
        if positions != self._ceiling:
            self._ceiling = positions
            self._raised.set()
            self._raised = anyio.Event()

    async def apply(
        self, connection: Any, batch: Sequence[Span], seen: Mapping[int, Tracking]
    ) -> Outcome:
        """Apply what is not beyond. Of what is, say that it is to be read again."""
        raised = self._raised
        allowed = [self._allowed(span) for span in batch]
        if allowed == list(batch):
            return await super().apply(connection, batch, seen)
        await super().apply(connection, [span for span in allowed if span.records], seen)
        with anyio.move_on_after(GOAL_SECONDS):
            await raised.wait()
        return Deferred()

    def _allowed(self, span: Span) -> Span:
        if self._ceiling is not None:
            ceiling = self._ceiling[span.partition]
            for record in span.records:
                if record.envelope and record.envelope.position > ceiling:
                    return span.before(record.offset)
        return span


class Rebuild:
    """Rebuilds one view. What an interrupted rebuild has filled is gone on with.

    Every `progress_seconds` it looks how far it is, and with `nearly` all of the offsets, but for
    so many, it is time to swap. What Kafka has deleted is read from the `write_model`, if there is
    one, or all that is published, if that is the `source`.

    Raises `NotReplayableError` for a follower: no other generation of what it has can be made.
    """

    def __init__(
        self,
        store: Store,
        settings: KafkaSettings,
        *,
        progress_seconds: float = PROGRESS_SECONDS,
        nearly: int = NEARLY,
        write_model: OpenWriteModel | None = None,
        source: Source = Source.KAFKA,
    ) -> None:
        self._active = active = replayable(store, Again.REBUILT)
        self._next = active.next_generation()
        self._kept = active.generation(f"{active.schema}_kept")
        self._aside = active.generation(f"{active.schema}_aside")
        self._settings = settings
        self._progress_seconds = progress_seconds
        self._nearly = nearly
        self._ahead = _NotAhead(self._next)
        self._filling = Filling(active, self._next, settings, self._ahead, write_model, source)
        self._last_seen: _InKafka | None = None
        self._partitions = 0

    async def run(
        self,
        report: Callable[[RebuildProgress], None],
        *,
        keep: bool = False,
        anew: bool = False,
        even_if_parked: bool = False,
        judge: Judge | None = None,
    ) -> bool:
        """Fill a new generation, make its indexes, and swap; tell whether they were swapped.

        With `keep` the old generation stays, for `swap_back`. With `anew` what an interrupted
        rebuild has filled is thrown away first; so it is if it has another shape. A `judge` is
        given what comes of comparing both at the same positions, and says whether to swap: if not,
        the new one stays to be looked at, and the next rebuild makes another. Raises
        `ViewMissingError` without an active one, `AlreadyRebuildingError`; and `MoreParkedError`,
        unless it is to swap `even_if_parked`, `NotComparableError`, `NotLevelError` or
        `TopicMissingError`: then the new one waits for the next rebuild.
        """
        async with alone(self._active) as connection, AsyncExitStack() as swap:
            if not await self._active.exists(connection):
                raise ViewMissingError(self._active.view)
            await remove(connection, self._aside)
            await self._filling.prepare(connection, anew=anew)
            self._partitions = await self._next.tracking.count(connection)
            goal = partial(self._level_with, connection) if judge else self._all_there_is
            if judge:
                await self._check_comparable(connection)
                await self._not_ahead(connection)
            async with self._filling.going_on():
                await self._caught_up(connection, report, goal)
                await self._next.create_indexes(connection)
                await self._caught_up(connection, report, goal)
                is_wanted = not judge or await judge(await self._compared(connection))
                if is_wanted:
                    await swap.enter_async_context(connection.transaction())
                    await self._active.tracking.hold(connection)
                    await self._level(connection, report)
            if not is_wanted:
                await self._next.tracking.reshape(connection, REFUSED)
                return False
            if not even_if_parked:
                await self._check_parked(connection)
            await self._swap(connection, keep=keep)
            await swap.aclose()
            await remove(connection, self._aside)
            return True

    async def swap_back(self) -> None:
        """Make the kept generation the active one again, and keep the other.

        Consumers bring it up to date from where it was. Raises `KeptMissingError`.
        """
        async with alone(self._active) as connection:
            if not await self._kept.exists(connection):
                raise KeptMissingError(self._active.view.name)
            await remove(connection, self._aside)
            async with connection.transaction():
                await self._active.tracking.hold(connection)
                await self._active.parking.copy_dropped(connection, self._kept.schema)
                await _rename(connection, self._active, self._aside)
                await _rename(connection, self._kept, self._active)
                await _rename(connection, self._aside, self._kept)
                await self._active.tracking.notify(connection)

    async def _check_comparable(self, connection: AsyncConnection[Any]) -> None:
        """See that an event is in the same partition for both."""
        active = await self._active.tracking.count(connection)
        if active != self._partitions:
            view = self._active.view
            raise NotComparableError(
                view.name,
                f"the topic has another count of partitions ({self._partitions}) than the present "
                f"one has followed ({active}). Fill it anew without comparing: "
                f"eventsourcing-kafka consumer rebuild {view.arguments}",
            )

    async def _compared(self, connection: AsyncConnection[Any]) -> Sequence[Compared]:
        """Hold the generations against each other, where both have applied the same."""
        async with connection.transaction(force_rollback=True):
            await self._active.tracking.hold(connection)
            await self._not_ahead(connection)
            await self._until_level(connection)
            compared = await compare(connection, self._active, self._next)
        self._ahead.let_come_to(None)
        return compared

    async def _not_ahead(self, connection: AsyncConnection[Any]) -> None:
        """Let the new generation come to where the active one is, and no further."""
        self._ahead.let_come_to(await self._active.tracking.positions(connection))

    async def _until_level(self, connection: AsyncConnection[Any]) -> None:
        active = await self._active.tracking.positions(connection)
        with anyio.move_on_after(SAME_SECONDS):
            while await self._next.tracking.positions(connection) != active:  # noqa: ASYNC110
                await anyio.sleep(LOOK_SECONDS)
            return
        raise NotComparableError(
            self._active.view.name,
            "they do not come to the same positions. Do its consumers run? The next rebuild goes "
            "on from here.",
        )

    async def _check_parked(self, connection: AsyncConnection[Any]) -> None:
        present = await self._active.parking.count(connection)
        following = await self._next.parking.count(connection)
        if following > present:
            # Nobody can list them: the commands are about the active generation.
            first = await self._next.parking.listed(connection, after=0, limit=TOLD_PARKED)
            raise MoreParkedError(self._active.view, following, present, first)

    async def _caught_up(
        self,
        connection: AsyncConnection[Any],
        report: Callable[[RebuildProgress], None],
        goal: Callable[[], Awaitable[Mapping[int, Goal]]],
    ) -> None:
        """Wait until the new generation has nearly all that there is."""
        waited = True
        while waited:  # Then there is more by now.
            waited = await self._reached(
                connection, report, goal, self._nearly, self._progress_seconds
            )

    async def _in_kafka(self) -> _InKafka:
        """Return what is in Kafka, or was before that went away for a while."""
        try:
            self._last_seen = await self._in_kafka_now()
        except (KafkaError, SessionLostError):
            if not self._last_seen:
                raise
        return self._last_seen

    async def _in_kafka_now(self) -> _InKafka:
        said = await read_said(self._next, self._settings)
        ends = await read_ends(self._next, self._settings)
        if len(ends) != self._partitions:
            raise TopicMissingError(
                f"The topic that fills the new generation of {self._next.view.name} has gone, or "
                "was made anew with another count of partitions, and the present one stays. "
                "Rebuild it again when its relay has made the topic."
            )
        return _InKafka(ends, said)

    async def _all_there_is(self) -> Mapping[int, Goal]:
        return {number: Goal(end) for number, end in (await self._in_kafka()).ends.items()}

    async def _level_with(self, connection: AsyncConnection[Any]) -> Mapping[int, Goal]:
        """Return where the active generation is, for the new one not to be ahead of it."""
        offsets, positions = await self._active_at(connection)
        await self._not_ahead(connection)
        return (await self._in_kafka()).as_far_as(offsets, positions)

    async def _level(
        self, connection: AsyncConnection[Any], report: Callable[[RebuildProgress], None]
    ) -> None:
        """Wait until the new generation has all that the active one has, which is held.

        Not for ever: its consumers wait, too. Raises `NotLevelError` when it comes no nearer.
        """
        offsets, positions = await self._active_at(connection)

        async def goal() -> Mapping[int, Goal]:
            return (await self._in_kafka_now()).as_far_as(offsets, positions)

        await self._reached(connection, report, goal, 0, LOOK_SECONDS, SAME_SECONDS)

    async def _active_at(
        self, connection: AsyncConnection[Any]
    ) -> tuple[Mapping[int, int], Sequence[int]]:
        """Return the offset and the position of each partition of the active generation."""
        offsets = await self._active.tracking.offsets(connection)
        return offsets, await self._active.tracking.positions(connection)

    async def _reached(
        self,
        connection: AsyncConnection[Any],
        report: Callable[[RebuildProgress], None],
        goal: Callable[[], Awaitable[Mapping[int, Goal]]],
        gap: int,
        seconds: float,
        patience: float = inf,
    ) -> bool:
        """Wait until the new generation is so near to a goal; tell whether it was not yet.

        The goal is asked for again and again: a topic that is made anew, or has lost its end, never
        comes to where it was.
        """
        waited, asked = False, -inf
        least, since = inf, -inf
        goals: Mapping[int, Goal] = {}
        while True:
            if anyio.current_time() - asked >= GOAL_SECONDS:
                goals, asked = await goal(), anyio.current_time()
            progress = await self._filling.progress(connection, goals)
            report(progress)
            if progress.gap <= gap:
                return waited
            if progress.gap < least:
                least, since = progress.gap, anyio.current_time()
            elif anyio.current_time() - since >= patience:
                raise NotLevelError(self._active.view.name, progress.gap)
            waited = True
            await anyio.sleep(seconds)

    async def _swap(self, connection: AsyncConnection[Any], *, keep: bool) -> None:
        await self._next.tracking.hold(connection)
        await self._active.parking.copy_dropped(connection, self._next.schema)
        if keep and await self._kept.exists(connection):
            await _rename(connection, self._kept, self._aside)
        await _rename(connection, self._active, self._kept if keep else self._aside)
        await _rename(connection, self._next, self._active)
        await self._active.tracking.notify(connection)


async def _rename(connection: AsyncConnection[Any], store: ViewStore, to: ViewStore) -> None:
    """Give a generation another name, also where its functions say it: their bodies are texts."""
    old, new = sql.Identifier(store.schema), sql.Identifier(to.schema)
    await connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(old, new))
    said, says = (f"{name.as_string(connection)}." for name in (old, new))
    cursor = await connection.execute(SELECT_FUNCTIONS, [to.schema, said])
    for (definition,) in await cursor.fetchall():
        await connection.execute(definition.replace(said, says))
