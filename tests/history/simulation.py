"""A small pipeline that is no product's: what it does right makes clean histories.

It has the whole truth, and writes the logs that its processes would: with ends that are missing,
outcomes that nobody was told, transactions that failed, replays, rebuilds, crashes. What each step
does is said by whoever calls it.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum, auto
from itertools import count

from tests.history.entries import (
    Acknowledged,
    AnyEntry,
    ApplyBegun,
    ApplyEnded,
    Change,
    Changed,
    Ended,
    Ending,
    Found,
    History,
    Move,
    Outcome,
    Record,
    Sent,
    Stands,
    WriteBegun,
    WriteEnded,
)

TOPIC = "events"
VIEW = "view"
PARTITIONS = 2
AGGREGATES = 4
BEFORE_ANY_CRASH = 100.0
"""Seconds between a view transaction and a crash that must not have taken it."""


class Told(Enum):
    """What a process gets to know of what it did."""

    ALL = auto()
    AN_ERROR = auto()
    """That does not tell whether it has happened."""
    NOTHING = auto()
    """It was killed."""


class Fate(Enum):
    """What becomes of a Kafka transaction."""

    COMMITTED = auto()
    ABORTED = auto()
    """Its relay asks for it."""
    NEVER_ENDED = auto()
    """Its relay is killed before; the next one aborts it."""
    REFUSED = auto()
    """Its commit is asked for, and another relay had it aborted."""


class Simulation:
    """One write model, one topic, one view."""

    def __init__(self) -> None:
        self.logs: defaultdict[str, list[AnyEntry]] = defaultdict(list)
        self._now = count(1)
        self._seconds = 0.0
        self._calls = count(1)
        self._stored: list[Record] = []
        self._versions = [0] * AGGREGATES
        self._published = 0
        self._topic: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        self._ends = [0] * PARTITIONS
        self._view = [0] * PARTITIONS
        self._kept: list[int] | None = None
        self._before_crash = list(self._view)

    def write(self, aggregates: list[int], told: Told, *, committed: bool = True) -> None:
        """Have a writer commit an event of each aggregate at once, or not."""
        call = next(self._calls)
        events = [
            Record(0, f"a{each}", self._versions[each] + 1, f"at {call}") for each in aggregates
        ]
        self._log("writer", WriteBegun(call=call, events=events, at=self._at()))
        positions = []
        if committed:
            for each, event in zip(aggregates, events, strict=True):
                self._versions[each] += 1
                positions.append(len(self._stored) + 1)
                self._stored.append(Record(positions[-1], *event.event))
        outcome = _outcome(told, happened=committed)
        if outcome:
            known = positions if outcome is Outcome.OK else []
            self._log(
                "writer", WriteEnded(call=call, outcome=outcome, positions=known, at=self._at())
            )

    def publish(self, most: int, fate: Fate, told: Told, *, acknowledged: bool = True) -> None:
        """Have a relay publish what comes next, in one transaction."""
        transaction = next(self._calls)
        batch = self._stored[self._published : self._published + most]
        if not batch:
            return
        for partition in range(PARTITIONS):
            records = [each for each in batch if _partition_of(each) == partition]
            if records:
                self._send(transaction, partition, records, acknowledged or fate is Fate.COMMITTED)
                self._append(partition, records, committed=fate is Fate.COMMITTED)
        if fate is Fate.COMMITTED:
            self._published += len(batch)
        if fate is Fate.NEVER_ENDED:
            return
        commit = fate is not Fate.ABORTED
        self._log("relay", Ending(transaction=transaction, commit=commit, at=self._at()))
        outcome = _outcome(told, happened=fate is not Fate.REFUSED)
        if outcome:
            self._log("relay", Ended(transaction=transaction, outcome=outcome, at=self._at()))

    def apply(
        self, most: int, partitions: list[int], told: Told, *, committed: bool = True
    ) -> None:
        """Have a consumer apply what comes next to the view."""
        self._apply(self._view, most, partitions, told, committed=committed)

    def replay(self, partitions: list[int]) -> None:
        """Have an operator set partitions of the view back to the start."""
        self._log(
            "operator",
            Changed(what=Change.REPLAY, view=VIEW, partitions=partitions, at=self._at()),
        )
        for partition in partitions:
            self._view[partition] = 0

    def rebuild(self, most: int, *, swapped: bool, keep: bool) -> None:
        """Fill another generation, by batches of so many, and put it in place, if it comes to that.

        It is killed otherwise, and what it has filled is never looked at again.
        """
        self._log("operator", Changed(what=Change.REBUILD, view=VIEW, at=self._at()))
        generation = [0] * PARTITIONS
        while self._behind(generation):
            self._apply(generation, most, list(range(PARTITIONS)), Told.ALL)
            if not swapped:
                return
        self._kept = self._view if keep else None
        self._view = generation

    def swap_back(self) -> None:
        """Take the generation up again that was kept."""
        if self._kept:
            self._view, self._kept = self._kept, self._view

    def crash_database(self, *, loses: bool) -> None:
        """Lose what the view has committed since `checkpoint`, or nothing."""
        self._log("operator", Changed(what=Change.DATABASE_CRASH, at=self._at()))
        if loses:
            self._view = list(self._before_crash)
        self.checkpoint()

    def checkpoint(self) -> None:
        """Let so much time pass that no crash takes what the view has committed."""
        self._seconds += BEFORE_ANY_CRASH
        self._before_crash = list(self._view)
        # A generation that is not the active one is not taken back here.
        self._kept = None

    def make_topic_anew(self) -> None:
        """Lose the topic: the relay begins again, and offsets are others."""
        self._log("operator", Changed(what=Change.TOPIC_CHANGE, at=self._at()))
        self._topic = [[] for _ in range(PARTITIONS)]
        self._ends = [7] * PARTITIONS
        self._published = 0

    def settled(self) -> History:
        """Publish and apply all there is, and read everything."""
        while self._published < len(self._stored):
            self.publish(3, Fate.COMMITTED, Told.ALL)
        while self._behind(self._view):
            self.apply(5, list(range(PARTITIONS)), Told.ALL)
        for partition in range(PARTITIONS):
            found = Found(
                topic=TOPIC, partition=partition, records=self._topic[partition], at=self._at()
            )
            stands = Stands(
                view=VIEW, partition=partition, position=self._view[partition], at=self._at()
            )
            self._log("end", found)
            self._log("end", stands)
        return History(dict(self.logs))

    def _apply(
        self,
        generation: list[int],
        most: int,
        partitions: list[int],
        told: Told,
        *,
        committed: bool = True,
    ) -> None:
        transaction = next(self._calls)
        moves = [
            Move(TOPIC, partition, generation[partition], records[-1].position, records)
            for partition in partitions
            if (records := self._next(generation, partition, most))
        ]
        self._log(
            "consumer", ApplyBegun(transaction=transaction, view=VIEW, moves=moves, at=self._at())
        )
        if committed:
            for move in moves:
                generation[move.partition] = move.end
        outcome = _outcome(told, happened=committed)
        if outcome:
            self._log(
                "consumer", ApplyEnded(transaction=transaction, outcome=outcome, at=self._at())
            )

    def _next(self, generation: list[int], partition: int, most: int) -> list[Record]:
        records = self._topic[partition]
        return [each for each in records if each.position > generation[partition]][:most]

    def _behind(self, generation: list[int]) -> bool:
        return any(self._next(generation, partition, 1) for partition in range(PARTITIONS))

    def _send(
        self, transaction: int, partition: int, records: list[Record], acknowledged: bool
    ) -> None:
        send = next(self._calls)
        self._log(
            "relay",
            Sent(
                transaction=transaction,
                send=send,
                topic=TOPIC,
                partition=partition,
                records=records,
                at=self._at(),
            ),
        )
        if acknowledged:
            at = self._ends[partition]
            self._log("relay", Acknowledged(send=send, offset=at, at=self._at()))

    def _append(self, partition: int, records: list[Record], *, committed: bool) -> None:
        offset = self._ends[partition]
        if committed:
            self._topic[partition] += [
                Record(record.position, *record.event, offset + place)
                for place, record in enumerate(records)
            ]
        self._ends[partition] += len(records) + 1  # and the marker

    def _log(self, process: str, entry: AnyEntry) -> None:
        self.logs[process].append(entry)

    def _at(self) -> float:
        self._seconds += 0.01
        return self._seconds


def _partition_of(record: Record) -> int:
    return int(record.aggregate[1:]) % PARTITIONS


def _outcome(told: Told, *, happened: bool) -> Outcome | None:
    match told:
        case Told.ALL:
            return Outcome.OK if happened else Outcome.FAILED
        case Told.AN_ERROR:
            return Outcome.UNKNOWN
        case Told.NOTHING:
            return None
