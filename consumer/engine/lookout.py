"""What happens where a partition does not go on from what a view has applied.

Then the record that was applied last is looked for. Found, the view goes on behind it: in a topic
that was made anew, on another cluster, after Kafka has lost its tail. Not found, and nothing is
there that is not applied, the topic is behind the view: what comes is read until it has come so
far. Deleted, with what comes after it, that is read from the write model, if there is a way to it.
Otherwise the partition stops, and says why; the others go on. A stop is no state: whoever starts
next looks again.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import anyio

from eventsourcing_kafka.consumer.engine.backfill import Backfill, Goal
from eventsourcing_kafka.consumer.engine.logs import ViewLog
from eventsourcing_kafka.consumer.engine.parking import permits
from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.search import ChainSearch, Own, Searched
from eventsourcing_kafka.consumer.engine.store import group_of
from eventsourcing_kafka.consumer.engine.subscription import Pacing, Subscription
from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking
from eventsourcing_kafka.producer.kafka.ranges import Bounds
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.wire.chain import START, Link
from eventsourcing_kafka.producer.wire.position import Said

logger = logging.getLogger(__name__)

BROKEN = "The chain is broken"
"""What each reason begins with. It quotes no event: anybody may be shown it."""


class Lookout:
    """Looks for what a view has applied last, in the partitions that a subscription has.

    Why partitions have stopped is in `stopped`. The connection is nobody else's. What is to be read
    from the write model is handed to `backfill`: what Kafka has deleted; with `all_published`, of
    partitions that are tracked there, also what it still has.
    """

    def __init__(
        self,
        store: Store,
        connection: Any,
        subscription: Subscription,
        reader: ChainSearch,
        settings: KafkaSettings,
        stopped: MutableMapping[int, str],
        pacing: Pacing,
        backfill: Backfill | None = None,
        *,
        all_published: bool = False,
    ) -> None:
        self._log = ViewLog(logger, store.view.name)
        self._store = store
        self._connection = connection
        self._subscription = subscription
        self._reader = reader
        self._settings = settings
        self._topic = Topics.of(store.view.application_name, settings).events
        self._stopped = stopped
        self._pacing = pacing
        self._backfill = backfill
        self._all_published = all_published
        self._looked_at: dict[int, tuple[Tracking, Bounds, Said | None]] = {}
        self._missed: dict[int, Link] = {}

    async def run(self) -> None:
        """Look where a partition does not go on, and regularly, and at first, where it is quiet."""
        while True:
            with anyio.move_on_after(self._pacing.check_seconds) as waiting:
                await self._subscription.needs_a_look()
            again = self._backfill.given_up() if self._backfill and waiting.cancelled_caught else ()
            for partition in {*self._subscription.take_broken(), *again}:
                await self._look(partition)
            await self._look_where_quiet()
            self._tell_what_has_come()

    async def _look_where_quiet(self) -> None:
        """See that the last record is where it was, in partitions that bring nothing."""
        seen = dict(self._subscription.seen)
        said = await self._reader.said(seen)  # Before: what it names is there by then.
        bounds = await self._reader.bounds(seen)
        quiet = [each for number, each in seen.items() if each.offset >= bounds[number].end]
        behind = {
            each.partition
            for each in quiet
            if bounds[each.partition].begin
            and each.partition in said
            and said[each.partition].position > each.position
        }
        for number in behind.union(await self._reader.lost(quiet, bounds)):
            told = bounds[number], said.get(number)
            if self._looked_at.get(number) != (seen[number], *told):
                await self._look(number)
                if at := self._subscription.seen.get(number):
                    self._looked_at[number] = at, *told

    def _tell_what_has_come(self) -> None:
        for number, missed in list(self._missed.items()):
            seen = self._subscription.seen.get(number)
            if seen is None or seen.position <= missed.position:
                continue
            del self._missed[number]
            self._log.warning(
                "partition %d: the topic has come to where the view is: going on from there", number
            )

    async def _look(self, partition: int) -> None:
        """Find where a partition is to go on, and have it go on there, or stop it."""
        seen = self._subscription.seen.get(partition)
        if seen is None:
            return  # It has gone to another member.
        if seen.is_in_write_model and self._all_published and await self._read_on(seen):
            return
        said = await self._last_published(seen)  # Before: what it names is there by then.
        found = await self._reader.search(seen)
        if self._subscription.seen.get(partition) != seen:
            return  # It has come on, or was moved, meanwhile.
        deleted = _deleted(found, said)
        lacks = deleted is not None and deleted.last.position > seen.position
        match found:
            case _ if lacks and deleted and self._backfill:
                await self._read_write_model(seen, deleted, self._backfill)
            case Searched(next=None) if lacks or found.place is None:
                has_all = deleted is not None and deleted.last == seen.link
                await self._wait(seen, found.bounds, None if has_all else found.tail)
            case Searched(next=None, place=int(place)):
                await self._go_on(seen, place, found.bounds.end)
            case Searched(next=Own() as following, place=int(place)) if (
                following.predecessor == seen.link.text
            ):
                await self._go_on(seen, place, following.offset)
            case Searched(next=Own() as following):
                if not await self._pass_over(seen, following):
                    await self._stop(seen, following, found)

    async def _last_published(self, seen: Tracking) -> Goal | None:
        """Return which record is the last of a partition, as the position record says."""
        said = (await self._reader.said([seen.partition])).get(seen.partition)
        return Goal(said.link, said.lowest + 1) if said else None

    async def _read_on(self, seen: Tracking) -> bool:
        """Have all that is published read from the write model; tell whether there is more."""
        goal = await self._last_published(seen)
        if self._backfill is None or goal is None or goal.last.position <= seen.position:
            return False
        await self._read_write_model(seen, goal, self._backfill)
        return True

    async def _read_write_model(self, seen: Tracking, goal: Goal, backfill: Backfill) -> None:
        """Go on from the write model, up to what Kafka has."""
        if not seen.is_in_write_model:
            self._log.warning(
                "partition %d: what comes after %s, up to %s, has been deleted from %s: reading it "
                "from the write model",
                seen.partition,
                seen.link.text,
                goal.last.text,
                self._topic,
            )
        if await self._move(seen, seen.in_write_model()):
            self._subscription.looked_at(seen.partition)
            backfill.begin(seen.partition, goal)

    async def _go_on(self, seen: Tracking, place: int, latest: int) -> None:
        """Go on behind the record that is applied last, at an offset up to the `latest`."""
        is_right = seen.record_offset == place and place < seen.offset <= latest
        offset = seen.offset if is_right else place + 1
        self._missed.pop(seen.partition, None)
        if await self._move(seen, seen._replace(offset=offset, record_offset=place)) and (
            place != seen.record_offset
        ):
            self._log.warning(
                "partition %d: %s, applied last, is at offset %d of %s now: going on from there",
                seen.partition,
                seen.link.text,
                place,
                self._topic,
            )

    async def _wait(self, seen: Tracking, bounds: Bounds, tail: Link | None) -> None:
        """Read what comes, until the last record comes, or one that names it.

        Without a `tail` nothing is missed: there is nothing after what is applied last.
        """
        offset = min(max(seen.offset, bounds.begin), bounds.end)
        if (
            not await self._move(seen, seen._replace(offset=offset))
            or tail is None
            or self._missed.get(seen.partition) == seen.link
        ):
            return
        self._missed[seen.partition] = seen.link
        if offset > seen.offset or seen.record_offset < bounds.begin:
            what = "what comes after it may have been deleted: the gap is not known"
        else:
            what = f"the topic is behind the view, it ends with {tail.text}: waiting for the relay"
        self._log.warning(
            "partition %d: %s, applied last, is not in %s, and %s",
            seen.partition,
            seen.link.text,
            self._topic,
            what,
        )

    async def _pass_over(self, seen: Tracking, following: Own) -> bool:
        """Go on with a record that does not follow, if an operator has said so."""
        to = following.follows
        dropped = await self._store.parking.dropped(self._connection)
        if to is None or not permits(dropped, seen, to):
            return False
        self._log.warning(
            "partition %d: skipped from %s to %s", seen.partition, seen.link.text, to.text
        )
        at = Tracking(
            seen.partition, to.position, following.offset, to.identity, following.offset - 1
        )
        return await self._move(seen, at)

    async def _stop(self, seen: Tracking, following: Own, found: Searched) -> None:
        """Have the partition stop before a record, and say why."""
        why = self._reason(seen, following, found)
        at = seen._replace(offset=following.offset)
        if not await self._store.move(self._connection, Move(seen, at, stopped=why)):
            return
        self._subscription.advance({seen.partition: seen}, [at])
        if self._stopped.get(seen.partition) != why:
            self._log.error("partition %d has stopped. %s", seen.partition, why)
        self._stopped[seen.partition] = why

    async def _move(self, seen: Tracking, to: Tracking) -> bool:
        """Have the partition go on from elsewhere."""
        if to != seen and not await self._store.move(self._connection, Move(seen, to)):
            return False
        self._stopped.pop(seen.partition, None)
        self._subscription.seek([to])
        return True

    def _reason(self, seen: Tracking, following: Own, found: Searched) -> str:
        view, last, predecessor = self._store.view, seen.link.text, following.follows
        expected = last if seen.position else "the first record"
        if seen.position and not seen.identity:
            expected = f"that at position {seen.position}, whose identity is not known"
        where = (
            f"is in the partition, at offset {found.place}, and this is what comes after it"
            if found.place is not None
            else f"is nowhere in the partition, which has the offsets {found.bounds.begin} to "
            f"{found.bounds.end - 1} and ends with {found.tail.text}"
        )
        reason = (
            f"{BROKEN} at offset {following.offset} of {self._topic}, partition {seen.partition}: "
            f"expected the record after {expected}, and found {following.link.text}, which is the "
            f"one after {following.predecessor}. What {view.name} has applied last {where}. "
            "Records were deleted or lost, or they are of another write model, or of one that was "
            "restored. "
        )
        ways = []
        if self._store.capabilities.replayable:
            ways.append(f"fill it anew: eventsourcing-kafka consumer rebuild {view.arguments}")
        group = group_of(self._store, self._settings)
        reset = (
            f"stop its consumers, kafka-consumer-groups --group {group} --topic "
            f"{self._topic}:{seen.partition} --reset-offsets --to-offset {{}} --execute, "
            "and start them again"
        ).format
        if found.place is not None:
            ways.append(
                f"if what is at offset {following.offset} is not the relay's, and what follows is, "
                f"pass it over: {reset(following.offset + 1)}"
            )
        if predecessor and predecessor.position > seen.position:
            ways.append(
                "if the events between are lost, go on without them, which is recorded for ever: "
                + reset(following.offset)
            )
        ways.append("bring the right topic back, and start its consumers again")
        return f"{reason}One of: {'; '.join(ways)}. The audit tells which events are missing."


def _deleted(found: Searched, said: Goal | None) -> Goal | None:
    """Return which record Kafka has deleted last of a partition; None if that is not known.

    The first record that it has names that; where it has none the position record has `said`.
    """
    if not found.bounds.begin or (found.place is not None and found.next):
        return None
    if found.next:
        return Goal(found.next.follows or START, found.next.offset)
    return said
