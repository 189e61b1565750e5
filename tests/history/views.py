"""What consumers applied, against what a reader of the topic finds, and against each other.

The tracking of one partition of a view is a trail: each transaction moves it from one position to
another, and the next one begins where that ended. It begins at 0, once, and once more for each
replay or rebuild that an operator's log has. A generation that is thrown away, or kept and
taken up again, is a trail that ends, or goes on, where it was. So over all of them together every
position that a transaction moves from must have been moved to as often, and nothing else need be
known: no clock, no name of a generation. Transactions whose outcome is unknown are taken where they
explain something.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.history.anomalies import Anomaly, Kind
from tests.history.entries import (
    UNKNOWN_OFFSET,
    ApplyBegun,
    ApplyEnded,
    Change,
    Changed,
    History,
    Move,
    Outcome,
    Record,
    Stands,
)
from tests.history.topics import Commits, Topics

CRASH_TAKES_SECONDS = 5.0
"""What a view committed so shortly before its database crashed may be gone: it did not wait for
the disk. Postgres says 0.6 s; a machine that is busy may take its time to log."""

STARTS_AGAIN = {Change.REPLAY, Change.REBUILD}


@dataclass(frozen=True, eq=False)
class _Step:
    """What one transaction does to the tracking of one partition."""

    who: str
    move: Move
    began: float
    ended: float
    known: bool
    """Whether it was certainly committed, and still is."""
    acknowledged: bool
    """Whether it was committed, and may be gone again."""


@dataclass(frozen=True)
class _Partition:
    """One partition of a view, and all that moved its tracking."""

    view: str
    number: int
    steps: list[_Step]
    starts: int
    """How often it may begin at 0."""
    stands: int | None

    def __str__(self) -> str:
        return f"{self.view}, partition {self.number}"


def check_views(history: History, topics: Topics) -> Iterator[Anomaly]:
    """Yield what is wrong with the views."""
    commits = Commits(history, topics)
    for partition in _partitions(history):
        trail = _Trail(partition)
        for step in partition.steps:
            if step.acknowledged or step in trail.taken:
                yield from _applied_wrongly(partition, step, topics, commits)
        yield from _broken(partition, trail, topics)
        yield from _left_out(partition, topics)


def _partitions(history: History) -> Iterator[_Partition]:
    stands = {(entry.view, entry.partition): entry.position for _, entry in history.of(Stands)}
    steps = _steps(history)
    for view, number in sorted(steps.keys() | stands.keys()):
        again = sum(
            entry.what in STARTS_AGAIN
            and entry.view == view
            and (entry.partitions is None or number in entry.partitions)
            for _, entry in history.of(Changed)
        )
        yield _Partition(view, number, steps[view, number], 1 + again, stands.get((view, number)))


def _steps(history: History) -> defaultdict[tuple[str, int], list[_Step]]:
    ends = {(process, entry.transaction): entry for process, entry in history.of(ApplyEnded)}
    crashes = [entry.at for _, entry in history.of(Changed) if entry.what is Change.DATABASE_CRASH]
    steps: defaultdict[tuple[str, int], list[_Step]] = defaultdict(list)
    for process, begun in history.of(ApplyBegun):
        ended = ends.get((process, begun.transaction))
        outcome = ended.outcome if ended else Outcome.UNKNOWN
        if outcome is Outcome.FAILED:
            continue
        at = ended.at if ended else float("inf")
        acknowledged = outcome is Outcome.OK
        # It was committed at any time since it began.
        lost = any(begun.at <= crash <= at + CRASH_TAKES_SECONDS for crash in crashes)
        for move in begun.moves:
            steps[begun.view, move.partition].append(
                _Step(
                    f"{process}, transaction {begun.transaction}",
                    move,
                    begun.at,
                    at,
                    acknowledged and not lost,
                    acknowledged,
                )
            )
    return steps


class _Trail:
    """How the steps of one partition follow each other.

    `taken` are steps of unknown outcome that explain others; `gaps` are positions that somebody
    moved from, more often than anybody had moved to them; `strays` if the view stands at one.
    """

    def __init__(self, partition: _Partition) -> None:
        moving = [step for step in partition.steps if step.move.start != step.move.end]
        self.taken: set[_Step] = set()
        self.gaps: list[int] = []
        self.strays = False
        self._free: defaultdict[int, list[_Step]] = defaultdict(list)
        self._over = Counter({0: partition.starts})
        """How often each position was moved to, and not from yet."""
        for step in moving:
            if step.known:
                self._over[step.move.end] += 1
                self._over[step.move.start] -= 1
            else:
                self._free[step.move.end].append(step)
        for position in sorted(self._over):
            while self._over[position] < 0:
                if not self._explain(position):
                    self.gaps.append(position)
                    self._over[position] += 1
        if partition.stands is not None:
            self._over[partition.stands] -= 1
            self.strays = self._over[partition.stands] < 0 and not self._explain(partition.stands)

    def _explain(self, position: int) -> bool:
        """Find a way to a position from one that is left over, and take it."""
        reached: dict[int, _Step | None] = {position: None}
        to_visit = [position]
        while to_visit:
            at = to_visit.pop()
            if self._over[at] > 0:
                self._take(at, position, reached)
                return True
            for step, before in self._ways_to(at):
                if before not in reached:
                    reached[before] = step
                    to_visit.append(before)
        return False

    def _ways_to(self, position: int) -> Iterator[tuple[_Step, int]]:
        """Yield steps that lead there, or that would if they were given back."""
        for step in self._free[position]:
            if step not in self.taken:
                yield step, step.move.start
        for step in self.taken:
            if step.move.start == position:
                yield step, step.move.end

    def _take(self, at: int, position: int, reached: dict[int, _Step | None]) -> None:
        self._over[at] -= 1
        self._over[position] += 1
        while step := reached[at]:
            if step in self.taken:
                self.taken.remove(step)
                at = step.move.start
            else:
                self.taken.add(step)
                at = step.move.end


def _applied_wrongly(
    partition: _Partition, step: _Step, topics: Topics, commits: Commits
) -> Iterator[Anomaly]:
    """Compare what one transaction applied with what the topic has where it moved."""
    move = step.move
    if move.topic not in topics:
        return
    where = str(partition)
    evidence = (f"{step.who}, from {move.start} to {move.end}",)
    applied: set[int] = set()
    for record in move.records:
        if why := _not_committed(step, record, topics, commits):
            yield Anomaly(
                Kind.UNCOMMITTED_READ,
                f"{where} applied {record}: {why}",
                where,
                record.position,
                evidence,
            )
        elif record.position <= move.start or record.position in applied:
            yield Anomaly(
                Kind.DUPLICATE, f"{where} applied {record} again", where, record.position, evidence
            )
        applied.add(record.position)
    for earlier, later in pairwise(move.records):
        if later.position < earlier.position:
            yield Anomaly(
                Kind.REORDERING,
                f"{where} applied {later} after {earlier}",
                where,
                later.position,
                evidence,
            )
    for record in topics.between(move.topic, move.partition, move.start, move.end):
        if record.position not in applied:
            yield _skipped(partition, record, evidence)


def _not_committed(step: _Step, record: Record, topics: Topics, commits: Commits) -> str | None:
    """Say why a record that was applied is none of the topic's, if it is not."""
    move = step.move
    there = topics.at(move.topic, record.position)
    same = [at for number, at in there if number == move.partition and at.event == record.event]
    if not same:
        if commits.had(move.topic, move.partition, record, step.began):
            return None  # Whatever the topic that was left still has.
        return f"{move.topic} has {', '.join(str(at) for _, at in there) or 'nothing'} there"
    offsets = {at.offset for at in same}
    if record.offset in {UNKNOWN_OFFSET, *offsets} or topics.has_changed(move.topic):
        return None
    return f"{move.topic} has it at offset {min(offsets)}"


def _broken(partition: _Partition, trail: _Trail, topics: Topics) -> Iterator[Anomaly]:
    """Yield what was skipped, or applied again, where the trail does not hold together."""
    for gap in trail.gaps:
        leaving = [step for step in partition.steps if step.known and step.move.start == gap]
        yield from _broken_at(partition, max(leaving, key=lambda step: step.began), topics)
    if trail.strays and partition.stands is not None:
        yield from _stands_elsewhere(partition, partition.stands, topics)


def _broken_at(partition: _Partition, step: _Step, topics: Topics) -> Iterator[Anomaly]:
    """A step begins where nobody had ended. Before or behind where the others were?"""
    before = [
        other
        for other in partition.steps
        if other.known and other is not step and other.ended <= step.began
    ]
    last = max(before, key=lambda other: other.ended, default=None)
    was, start = last.move.end if last else 0, step.move.start
    evidence = (
        f"{step.who} began at {start}, and the view was at {was}",
        *([f"{last.who} had moved it there"] if last else []),
    )
    if was < start:
        for record in topics.between(step.move.topic, partition.number, was, start):
            yield _skipped(partition, record, evidence)
    else:
        for record in step.move.records:
            yield Anomaly(
                Kind.DUPLICATE,
                f"{partition} applied {record} again",
                str(partition),
                record.position,
                evidence,
            )


def _stands_elsewhere(partition: _Partition, gap: int, topics: Topics) -> Iterator[Anomaly]:
    """The view stands where no transaction has left it."""
    ends = [step.move.end for step in partition.steps if step.known]
    last = max((end for end in ends if end <= gap), default=0)
    evidence = (f"the view stands at {gap}, and no transaction has moved it there",)
    skipped = _expected(partition, topics, last, gap)
    for record in skipped:
        yield _skipped(partition, record, evidence)
    if not skipped and gap < max(ends, default=0):
        yield Anomaly(
            Kind.LOST_WRITE,
            f"{partition} stands at {gap}, and had committed more",
            str(partition),
            gap,
            evidence,
        )


def _left_out(partition: _Partition, topics: Topics) -> Iterator[Anomaly]:
    """Yield what a view has not come to when there is nothing left to do."""
    if partition.stands is None:
        return
    for record in _expected(partition, topics, partition.stands):
        yield Anomaly(
            Kind.LOST_WRITE,
            f"{partition} has not come to {record}",
            str(partition),
            record.position,
            (f"the view stands at {partition.stands}",),
        )


def _expected(
    partition: _Partition, topics: Topics, after: int, to: int | None = None
) -> Sequence[Record]:
    """Return what the view must have: what is in a topic that is complete, and that it reads."""
    read = {step.move.topic for step in partition.steps}
    names = sorted(topics.complete & read or topics.complete)
    return [
        record for name in names for record in topics.between(name, partition.number, after, to)
    ]


def _skipped(partition: _Partition, record: Record, evidence: tuple[str, ...]) -> Anomaly:
    return Anomaly(
        Kind.SKIPPED_POSITION,
        f"{partition} passed over {record} without applying it",
        str(partition),
        record.position,
        evidence,
    )
