"""A command of the product, with a log of what it does.

`python -m tests.chaos.observed producer relay` is `eventsourcing-kafka producer relay`, and logs
into the folder `CHAOS_HISTORY` as `CHAOS_NAME`. The product knows nothing of it: what is watched is
named here, and nowhere else.

- A relay at aiokafka's own door: what it sends and what it asks for is what Kafka gets to know.
- A consumer where it applies a batch: `TrackingTable.move` begins each attempt of `Applier.apply`,
  and `_followed` tells what that applies or sets aside.
- An operator by the command itself.
"""

from __future__ import annotations

import os
import sys
from asyncio import Future
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from tests.history.entries import (
    UNKNOWN_OFFSET,
    Acknowledged,
    ApplyBegun,
    ApplyEnded,
    Change,
    Changed,
    Ended,
    Ending,
    Journal,
    Move,
    Outcome,
    Record,
    Sent,
)
from tests.history.reading import record_of

HISTORY = "CHAOS_HISTORY"
NAME = "CHAOS_NAME"
OBSERVED = "tests.chaos.observed"

Wrapped = Callable[..., Any]


def journal_of(environment: Mapping[str, str]) -> Journal:
    """Open the log of this process."""
    return Journal.of_this_process(Path(environment[HISTORY]), environment[NAME])


class ObservedRelay:
    """Logs what each Kafka transaction holds, and what becomes of it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._numbers = count(1)
        self._records: WeakKeyDictionary[BatchBuilder, list[Record]] = WeakKeyDictionary()
        self._transactions: WeakKeyDictionary[AIOKafkaProducer, int] = WeakKeyDictionary()

    def install(self) -> None:
        """Watch all producers of this process."""
        _wrap(BatchBuilder, "append", self._appending)
        _wrap(AIOKafkaProducer, "begin_transaction", self._beginning)
        _wrap(AIOKafkaProducer, "send_batch", self._sending)
        _wrap(AIOKafkaProducer, "commit_transaction", partial(self._ending, commit=True))
        _wrap(AIOKafkaProducer, "abort_transaction", partial(self._ending, commit=False))

    def _appending(self, append: Wrapped) -> Wrapped:
        def observed(builder: BatchBuilder, **record: Any) -> Any:
            added = append(builder, **record)
            if added is not None and (event := record_of(record.get("headers") or ())):
                self._records.setdefault(builder, []).append(event)
            return added

        return observed

    def _beginning(self, begin: Wrapped) -> Wrapped:
        async def observed(producer: AIOKafkaProducer) -> None:
            self._transactions[producer] = next(self._numbers)
            await begin(producer)

        return observed

    def _sending(self, send_batch: Wrapped) -> Wrapped:
        async def observed(
            producer: AIOKafkaProducer, batch: BatchBuilder, topic: str, *, partition: int
        ) -> Future[Any]:
            records = self._records.pop(batch, [])
            if not records:  # Those of the position topic are no events.
                unwatched: Future[Any] = await send_batch(
                    producer, batch, topic, partition=partition
                )
                return unwatched
            sent = Sent(
                transaction=self._transactions[producer],
                send=next(self._numbers),
                topic=topic,
                partition=partition,
                records=records,
            )
            self._journal.write(sent)
            delivery: Future[Any] = await send_batch(producer, batch, topic, partition=partition)
            delivery.add_done_callback(partial(self._acknowledged, sent.send))
            return delivery

        return observed

    def _acknowledged(self, send: int, delivery: Future[Any]) -> None:
        if not delivery.cancelled() and not delivery.exception():
            self._journal.write(Acknowledged(send=send, offset=delivery.result().offset))

    def _ending(self, end: Wrapped, *, commit: bool) -> Wrapped:
        async def observed(producer: AIOKafkaProducer) -> None:
            transaction = self._transactions[producer]
            outcome = Outcome.UNKNOWN
            self._journal.write(Ending(transaction=transaction, commit=commit))
            try:
                await end(producer)
                outcome = Outcome.OK
            finally:
                self._journal.write(Ended(transaction=transaction, outcome=outcome))

        return observed


@dataclass
class _ViewTransaction:
    """What is known so far of a transaction in hand."""

    number: int
    view: str
    batch: Sequence[Any]
    news: Sequence[Any] = ()
    begun: bool = False


class ObservedConsumer:
    """Logs what each transaction of a view applies, and what becomes of it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._numbers = count(1)
        self._in_hand: ContextVar[_ViewTransaction | None] = ContextVar("in_hand", default=None)

    def install(self) -> None:
        """Watch all views of this process."""
        from eventsourcing_kafka.consumer.engine import applying
        from eventsourcing_kafka.consumer.engine.refusals import is_refused_in_writing
        from eventsourcing_kafka.consumer.engine.tracking import TrackingTable

        self._cannot_apply = applying.CannotApplyError
        self._is_refused = is_refused_in_writing
        self._applied = applying.Applied
        _wrap(applying.Applier, "apply", self._applying)
        _wrap(applying, "_followed", self._finding_news)
        _wrap(TrackingTable, "move", self._moving)

    def _applying(self, apply: Wrapped) -> Wrapped:
        async def observed(self_: Any, connection: Any, batch: Any, seen: Any) -> Any:
            hand = _ViewTransaction(next(self._numbers), self_._store.view.name, batch)
            token = self._in_hand.set(hand)
            outcome = Outcome.UNKNOWN
            try:
                result = await apply(self_, connection, batch, seen)
                outcome = Outcome.OK if isinstance(result, self._applied) else Outcome.FAILED
            except Exception as error:
                if isinstance(error, self._cannot_apply) or self._is_refused(error):
                    outcome = Outcome.FAILED
                raise
            else:
                return result
            finally:
                self._in_hand.reset(token)
                self._end(hand, outcome)

        return observed

    def _end(self, hand: _ViewTransaction, outcome: Outcome) -> None:
        if hand.begun:
            self._journal.write(ApplyEnded(transaction=hand.number, outcome=outcome))

    def _finding_news(self, news: Wrapped) -> Wrapped:
        def observed(*arguments: Any) -> Sequence[Any]:
            parts: Sequence[Any] = news(*arguments)
            if hand := self._in_hand.get():
                hand.news = [record for part in parts for record in part.move.news]
            return parts

        return observed

    def _moving(self, move: Wrapped) -> Wrapped:
        async def observed(table: Any, connection: Any, moves: Sequence[Any]) -> Any:
            if hand := self._in_hand.get():
                self._end(hand, Outcome.FAILED)  # It is tried again.
                hand.number = next(self._numbers) if hand.begun else hand.number
                begun = ApplyBegun(
                    transaction=hand.number, view=hand.view, moves=list(_moves(hand, moves))
                )
                self._journal.write(begun)
                hand.begun = True
            return await move(table, connection, moves)

        return observed


def _moves(hand: _ViewTransaction, moves: Sequence[Any]) -> Iterator[Move]:
    topics = {span.partition: span.records[0].topic for span in hand.batch if span.records}
    for move in moves:
        partition = move.seen.partition
        records = [record for record in hand.news if record.partition == partition]
        # One that is read from the write model is at no offset.
        read = (record_of(record.headers, max(record.offset, UNKNOWN_OFFSET)) for record in records)
        yield Move(
            topics.get(partition, ""),
            partition,
            move.seen.position,
            move.to.position,
            [record for record in read if record],
        )


def observe_operator(journal: Journal, arguments: Sequence[str]) -> None:
    """Log what a command permits a view to apply again."""
    match arguments:
        case ["consumer", "replay", view, *options]:
            given = [int(to) for name, to in pairwise(options) if name == "--partition"]
            journal.write(Changed(what=Change.REPLAY, view=view, partitions=given or None))
        case ["consumer", "rebuild", view, *options] if "--swap-back" not in options:
            journal.write(Changed(what=Change.REBUILD, view=view))


def _wrap(owner: Any, name: str, wrapper: Callable[[Wrapped], Wrapped]) -> None:
    setattr(owner, name, wrapper(getattr(owner, name)))


def main() -> None:
    """Run the command that is typed, observed."""
    from eventsourcing_kafka.__main__ import main as product

    journal = journal_of(os.environ)
    match sys.argv[1:]:
        case ["producer", "relay", *_]:
            ObservedRelay(journal).install()
        case ["consumer", *_]:
            ObservedConsumer(journal).install()
    observe_operator(journal, sys.argv[1:])
    product()


if __name__ == "__main__":
    main()
