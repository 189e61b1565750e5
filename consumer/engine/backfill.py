"""What Kafka has deleted, read from the write model: the other source of the same chain.

A topic with limited retention has the end of each partition. A view that needs more, since it is
new, is filled anew, or was away for too long, reads the write model by position, once for all of
its partitions: each event becomes the record that the relay has made of it, and names as its
predecessor the one before it in its partition. So it is followed, applied, guarded and parked as if
it came from Kafka; its place is tracked below all offsets, and a consumer that is killed goes on
from it. Up to where that is right is known beforehand: to the predecessor of the first record that
Kafka has, or to the last that the position record names. Below, each hole is proven permanent.
Behind it the partition goes on in Kafka, where the chain tells whether it follows; if more has been
deleted meanwhile it does not, and begins again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import psycopg

from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, RawRecord, Span
from eventsourcing_kafka.consumer.engine.logs import ViewLog
from eventsourcing_kafka.consumer.engine.protocol import OpenWriteModel, Store, WriteModel
from eventsourcing_kafka.consumer.engine.search import ChainSearch
from eventsourcing_kafka.consumer.engine.subscription import Subscription
from eventsourcing_kafka.consumer.engine.tracking import (
    Move,
    Tracking,
    place_behind,
    place_in_write_model,
)
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.retry import (
    LoopHealth,
    describe,
    first_error,
    is_transient,
    retrying,
)
from eventsourcing_kafka.producer.wire import Record
from eventsourcing_kafka.producer.wire.chain import Link

logger = logging.getLogger(__name__)

AT_ONCE = 250
"""Records that are made before it is the others' turn."""

Feed = Callable[[Sequence[Span]], Awaitable[None]]
"""Takes what is to be applied, and waits while much of it waits."""


class Goal(NamedTuple):
    """Where a partition goes on in Kafka."""

    last: Link
    """The last record that is to be read from the write model."""
    offset: int
    """The offset of what comes next in Kafka: a hint, as ever."""


class OtherWriteModelError(OperatorError):
    """The write model does not have what Kafka has, or what the view has applied."""

    def __init__(self, name: str, lacking: Link) -> None:
        super().__init__(
            f"the database has no such event of {name} as {lacking.text}: it was restored from a "
            "backup, or it is another one."
        )


class Backfill:
    """Reads the write model for those partitions of a subscription of which Kafka has too little.

    Why partitions have stopped is in `stopped`, and which come no further in `ended`. The
    connection is nobody else's.
    """

    def __init__(
        self,
        store: Store,
        connection: Any,
        subscription: Subscription,
        reader: ChainSearch,
        open_write_model: OpenWriteModel,
        stopped: MutableMapping[int, str],
        ended: Collection[int],
        partitions: int,
    ) -> None:
        self._log = ViewLog(logger, store.view.name)
        self._store = store
        self._connection = connection
        self._subscription = subscription
        self._reader = reader
        self._open = open_write_model
        self._stopped = stopped
        self._ended = ended
        self._partitions = partitions
        self._goals: dict[int, Goal] = {}
        self._changed = anyio.Event()
        self._wire = store.view.wire()
        self._given_up: dict[int, str] = {}
        self._name = f"{store.view.name}: write model of {store.view.application_name}"
        self._health = LoopHealth()

    def begin(self, partition: int, goal: Goal) -> None:
        """Read a partition from where its tracking is, which is in the write model, to a goal."""
        self._goals[partition] = goal
        self._changed.set()

    def given_up(self) -> Collection[int]:
        """Return the partitions that have stopped as they can't be read: they may be by now."""
        return [
            number for number, why in self._given_up.items() if self._stopped.get(number) == why
        ]

    async def run(self, feed: Feed) -> None:
        """Read whatever is to be read, for ever. A lost database holds up nothing else."""
        await retrying(self._name, partial(self._session, feed), self._health)

    def waits_for(self) -> Sequence[str]:
        """Return for what server it waits, while there is something to be read."""
        lost = self._health.lost
        whose = f"write model of {self._store.view.application_name}"
        return [f"{whose}: {lost}"] if lost and self._goals else []

    async def _session(self, feed: Feed, progressed: Callable[[], None]) -> None:
        while True:
            if not self._goals:
                await self._changed.wait()
            try:
                async with self._open() as write_model:
                    progressed()
                    while self._goals:
                        await self._read(write_model, feed)
                        progressed()
            except* (OperatorError, psycopg.Error) as errors:
                if is_transient(error := first_error(errors)):
                    raise
                await self._give_up(self._ours(), _told(error, self._store.view))

    async def _read(self, write_model: WriteModel, feed: Feed) -> None:
        """Read once what all partitions need, and have each go on in Kafka when it is applied."""
        self._changed = changed = anyio.Event()
        begun = self._ours()
        last = {number: seen.link for number, seen in begun.items()}
        if not begun or not await self._is_this_write_model(write_model, begun):
            return
        after = min(link.position for link in last.values())
        until = max(self._goals[number].last.position for number in last)
        self._log.info("reading %s from the write model, after position %d", sorted(last), after)
        async with aclosing(write_model.records(after, until)) as batches:
            async for records in batches:
                if spans := await self._spans(records, last):
                    await feed(spans)
                if changed.is_set():
                    return  # There is another one, or one is elsewhere: once for all, again.
        for number, link in last.items():
            if await self._is_applied(number, link, changed):
                await self._go_on_in_kafka(number)

    def _ours(self) -> Mapping[int, Tracking]:
        """Return where those partitions are that are to be read; forget those that are not ours."""
        seen = self._subscription.seen
        self._goals = {
            number: goal
            for number, goal in self._goals.items()
            if number in seen
            and seen[number].is_in_write_model
            and number not in self._stopped
            and number not in self._ended
        }
        return {number: seen[number] for number in self._goals}

    async def _is_this_write_model(
        self, write_model: WriteModel, begun: Mapping[int, Tracking]
    ) -> bool:
        """See that it has what is applied, and what Kafka has had; stop partitions otherwise."""
        is_right = True
        for number, seen in begun.items():
            lacking = await write_model.lacks({seen.link, self._goals[number].last})
            if lacking:
                why = OtherWriteModelError(self._store.view.application_name, lacking)
                await self._give_up({number: seen}, str(why))
                is_right = False
        return is_right

    async def _spans(self, records: Sequence[Record], last: dict[int, Link]) -> Sequence[Span]:
        """Return what partitions are to be given of some records, behind the `last` ones."""
        begins = dict(last)
        news: dict[int, list[ConsumedRecord]] = {}
        for count, record in enumerate(records, 1):
            number = partition_of(record.key, self._partitions)
            if number in last and self._is_wanted(record, number, last[number]):
                news.setdefault(number, []).append(self._consumed(record, number, last[number]))
                last[number] = record.link
            if count % AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
        return [
            Span(
                number,
                place_behind(begins[number].position),
                place_behind(last[number].position),
                consumed,
            )
            for number, consumed in news.items()
        ]

    def _is_wanted(self, record: Record, number: int, last: Link) -> bool:
        goal = self._goals.get(number)  # None if it went to another member, or has stopped.
        return goal is not None and last.position < record.position <= goal.last.position

    def _consumed(self, record: Record, partition: int, predecessor: Link) -> ConsumedRecord:
        headers = [*record.headers, ("ce_predecessor", predecessor.text.encode())]
        raw = RawRecord(
            self._reader.topic,
            partition,
            place_in_write_model(record.position),
            record.key,
            record.value,
            headers,
        )
        return ConsumedRecord.of(raw, self._wire, self._store.view.wanted, self._partitions)

    async def _is_applied(self, number: int, link: Link, changed: anyio.Event) -> bool:
        """Wait until a partition has come to a record; False if it is not there by this reading."""
        while not changed.is_set() and number in self._ours():
            moved = self._subscription.moved
            if self._subscription.seen[number].link == link:
                return True
            await moved.wait()
        return False

    async def _go_on_in_kafka(self, number: int) -> None:
        """Have a partition go on behind what Kafka has deleted."""
        seen, goal = self._subscription.seen[number], self._goals[number]
        begin, end = (await self._reader.bounds([number]))[number]
        to = seen._replace(offset=min(max(goal.offset, begin), end), record_offset=goal.offset - 1)
        if self._subscription.seen.get(number) != seen or not await self._store.move(
            self._connection, Move(seen, to)
        ):
            return  # Somebody else has moved it, or has it.
        self._goals.pop(number, None)
        self._given_up.pop(number, None)
        self._subscription.seek([to])
        self._log.info("partition %d: goes on in Kafka, behind %s", number, seen.link.text)

    async def _give_up(self, partitions: Mapping[int, Tracking], why: str) -> None:
        """Have partitions stop where they are."""
        for number, seen in partitions.items():
            reason = (
                f"What comes after {seen.link.text} has been deleted from {self._reader.topic}, "
                f"and it can't be read from the write model: {why}"
            )
            self._goals.pop(number, None)
            if not await self._store.move(self._connection, Move(seen, seen, stopped=reason)):
                continue
            if self._given_up.get(number) != reason:
                self._log.error("partition %d has stopped. %s", number, reason)
            self._stopped[number] = self._given_up[number] = reason


def _told(error: BaseException, view: View) -> str:
    """Return what an error says, and what to do: of ours each says that itself."""
    if isinstance(error, OperatorError):
        return str(error)
    prefix = view.application_name.upper()
    return (
        f"{describe(error)}. Give its consumers the settings of {view.application_name}, "
        f"{prefix}_POSTGRES_DBNAME and so on, with a role that may read its events."
    )
