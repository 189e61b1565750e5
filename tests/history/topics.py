"""What writers and relays did, against what a reader of the topic finds."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

import msgspec

from tests.history.anomalies import Anomaly, Kind
from tests.history.entries import (
    UNKNOWN_OFFSET,
    Acknowledged,
    Change,
    Changed,
    Ended,
    Ending,
    Found,
    History,
    Outcome,
    Record,
    Sent,
    WriteBegun,
    WriteEnded,
)

Event = tuple[str, int, str]


class Topics:
    """What was found in all topics, by position and by partition."""

    def __init__(self, found: Sequence[Found], changed: Collection[str | None]) -> None:
        self.found = found
        self._changed = changed
        self._places: dict[str, defaultdict[int, list[tuple[int, Record]]]] = {}
        self._sorted: dict[tuple[str, int], list[Record]] = {}
        for entry in found:
            places = self._places.setdefault(entry.topic, defaultdict(list))
            for record in entry.records:
                places[record.position].append((entry.partition, record))
            self._sorted[entry.topic, entry.partition] = sorted(entry.records, key=_position)

    @classmethod
    def of(cls, history: History) -> Topics:
        """Collect them from a history."""
        return cls(
            list(_with_what_was_deleted(entry for _, entry in history.of(Found))),
            {e.topic for _, e in history.of(Changed) if e.what is Change.TOPIC_CHANGE},
        )

    @property
    def complete(self) -> set[str]:
        """The topics that everything is to be in."""
        return {entry.topic for entry in self.found if entry.complete}

    def has_changed(self, topic: str) -> bool:
        """Tell whether what was read in a topic may be gone, or at another offset."""
        return topic in self._changed or None in self._changed

    def __contains__(self, topic: str) -> bool:
        return topic in self._places

    def at(self, topic: str, position: int) -> Sequence[tuple[int, Record]]:
        """Return the records that have a position, each with its partition."""
        return self._places[topic].get(position, ())

    def has(self, topic: str, record: Record) -> bool:
        """Tell whether a topic has a record's event at its position."""
        return any(at.event == record.event for _, at in self.at(topic, record.position))

    def between(
        self, topic: str, partition: int, after: int, to: int | None = None
    ) -> Sequence[Record]:
        """Return what one partition has behind a position, up to another, in their order."""
        records = self._sorted.get((topic, partition), [])
        start = bisect_right(records, after, key=_position)
        return records[start : None if to is None else bisect_right(records, to, key=_position)]


def _with_what_was_deleted(found: Iterable[Found]) -> Iterator[Found]:
    """Yield what was found last in each partition, and what was found earlier before its beginning.

    A topic that was made anew begins at 0: before that there is nothing.
    """
    by_partition: defaultdict[tuple[str, int], list[Found]] = defaultdict(list)
    for entry in found:
        by_partition[entry.topic, entry.partition].append(entry)
    for entries in by_partition.values():
        *earlier, last = sorted(entries, key=lambda entry: entry.at)
        there = {(record.position, record.event) for record in last.records}
        begin = min((record.offset for record in last.records), default=inf)
        deleted = {
            (record.position, record.event): record
            for entry in earlier
            for record in entry.records
            if record.offset < begin
        }
        records = [record for place, record in deleted.items() if place not in there]
        yield msgspec.structs.replace(last, records=[*records, *last.records])


def _position(record: Record) -> int:
    return record.position


class Commits:
    """What relays have asked Kafka to commit to topics that have changed, and were left since.

    One that was made anew, and left for another one before it was whole again, no longer has what
    a view has rightly applied. Those who committed that are all that can still tell of it.
    """

    def __init__(self, history: History, topics: Topics) -> None:
        endings, ends = _endings(history)
        complete = topics.complete
        self._since: dict[tuple[str, int, int, Event], float] = {}
        for process, sent in history.of(Sent):
            of = (process, sent.transaction)
            ending = endings.get(of)
            fate = _fate(ending, ends.get(of))
            left = topics.has_changed(sent.topic) and sent.topic not in complete
            if left and ending and fate is not _Fate.ABORTED:
                for record in sent.records:
                    key = (sent.topic, sent.partition, record.position, record.event)
                    self._since[key] = min(ending.at, self._since.get(key, ending.at))

    def had(self, topic: str, partition: int, record: Record, at: float) -> bool:
        """Tell whether a record may have been in a partition at a time."""
        since = self._since.get((topic, partition, record.position, record.event))
        return since is not None and since <= at


def check_topics(history: History, topics: Topics) -> Iterator[Anomaly]:
    """Yield what is wrong with the topics."""
    writes, sends = list(_writes(history)), list(_sends(history))
    yield from _lost(topics, writes, sends)
    for entry in topics.found:
        yield from _doubled_or_misordered(entry)
        yield from _holes(entry)
        yield from _never_committed(entry, writes, sends)
    yield from _scattered(topics)


@dataclass(frozen=True)
class _Write:
    """What one writer meant to commit at once, and what came of it."""

    process: str
    events: list[Record]
    """With positions, where it was told them."""
    outcome: Outcome


def _writes(history: History) -> Iterator[_Write]:
    ends = {(process, entry.call): entry for process, entry in history.of(WriteEnded)}
    for process, begun in history.of(WriteBegun):
        ended = ends.get((process, begun.call))
        if ended and ended.outcome is Outcome.OK:
            events = [
                Record(position, *event.event)
                for event, position in zip(begun.events, ended.positions, strict=True)
            ]
            yield _Write(process, events, Outcome.OK)
        else:
            yield _Write(process, begun.events, ended.outcome if ended else Outcome.UNKNOWN)


class _Fate(Enum):
    """What has become of a Kafka transaction, as its relay knows."""

    COMMITTED = auto()
    ABORTED = auto()
    """Or its end was never asked for: whatever comes next begins with aborting it."""
    UNKNOWN = auto()
    """Its commit was asked for, and not answered."""


@dataclass(frozen=True)
class _Send:
    process: str
    entry: Sent
    fate: _Fate
    records: list[Record]
    """With offsets, where they were acknowledged."""


def _sends(history: History) -> Iterator[_Send]:
    acknowledged = {(process, entry.send): entry for process, entry in history.of(Acknowledged)}
    endings, ends = _endings(history)
    for process, sent in history.of(Sent):
        fate = _fate(
            endings.get((process, sent.transaction)), ends.get((process, sent.transaction))
        )
        answer = acknowledged.get((process, sent.send))
        records = [
            Record(
                record.position,
                *record.event,
                answer.offset + place if answer else UNKNOWN_OFFSET,
            )
            for place, record in enumerate(sent.records)
        ]
        yield _Send(process, sent, fate, records)


def _endings(
    history: History,
) -> tuple[Mapping[tuple[str, int], Ending], Mapping[tuple[str, int], Ended]]:
    """Return what is known of the end of each transaction of each relay."""
    return (
        {(process, entry.transaction): entry for process, entry in history.of(Ending)},
        {(process, entry.transaction): entry for process, entry in history.of(Ended)},
    )


def _fate(ending: Ending | None, ended: Ended | None) -> _Fate:
    if ending is None or not ending.commit:
        return _Fate.ABORTED
    if ended is None:
        return _Fate.UNKNOWN
    match ended.outcome:
        case Outcome.OK:
            return _Fate.COMMITTED
        case Outcome.FAILED:
            return _Fate.ABORTED
        case Outcome.UNKNOWN:
            return _Fate.UNKNOWN


def _lost(topics: Topics, writes: list[_Write], sends: list[_Send]) -> Iterator[Anomaly]:
    """Yield what somebody knows to be committed, and is not in a topic that should have it."""
    for topic in sorted(topics.complete):
        for write in writes:
            if write.outcome is Outcome.OK:
                for event in write.events:
                    if not topics.has(topic, event):
                        yield _missing(topics, topic, event, f"{write.process} committed it")
    for send in sends:
        topic = send.entry.topic
        if send.fate is _Fate.COMMITTED and topic in topics.complete:
            for record in send.records:
                if not topics.has(topic, record):
                    yield _missing(
                        topics,
                        topic,
                        record,
                        f"{send.process} published it in its transaction "
                        f"{send.entry.transaction}, partition {send.entry.partition}",
                    )


def _missing(topics: Topics, topic: str, event: Record, who: str) -> Anomaly:
    there = [
        f"found there: {record} in {number}" for number, record in topics.at(topic, event.position)
    ]
    return Anomaly(
        Kind.LOST_WRITE,
        f"{event} was committed, and is in no record of {topic}",
        topic,
        event.position,
        (who, *there),
    )


def _doubled_or_misordered(entry: Found) -> Iterator[Anomaly]:
    """Yield what is not in the order of positions, and of versions, once each."""
    seen: dict[int, Record] = {}
    versions: dict[str, Record] = {}
    last: Record | None = None
    where = f"{entry.topic}, partition {entry.partition}"
    for record in sorted(entry.records, key=lambda record: record.offset):
        if record.position in seen:
            yield Anomaly(
                Kind.DUPLICATE,
                f"position {record.position} is twice in {where}",
                where,
                record.position,
                (str(seen[record.position]), str(record)),
            )
            continue
        seen[record.position] = record
        earlier = versions.get(record.aggregate)
        ahead = last if last and last.position > record.position else None
        if earlier and earlier.version >= record.version:
            ahead = ahead or earlier
        if ahead:
            yield Anomaly(
                Kind.REORDERING,
                f"{record} comes after {ahead} in {where}",
                where,
                record.position,
            )
        else:
            last = versions[record.aggregate] = record


def _holes(entry: Found) -> Iterator[Anomaly]:
    """Yield versions that are missing before later ones of their aggregates."""
    if not entry.complete:
        return
    versions: defaultdict[str, set[int]] = defaultdict(set)
    positions = {}
    for record in entry.records:
        versions[record.aggregate].add(record.version)
        positions[record.aggregate, record.version] = record.position
    where = f"{entry.topic}, partition {entry.partition}"
    for aggregate, there in versions.items():
        for version in sorted(set(range(1, max(there))) - there):
            after = min(later for later in there if later > version)
            yield Anomaly(
                Kind.LOST_WRITE,
                f"{aggregate} has no version {version} in {where}, and has {after}",
                where,
                positions[aggregate, after],
            )


def _scattered(topics: Topics) -> Iterator[Anomaly]:
    """Yield aggregates, and positions, that are in more than one partition: they have no order."""
    partitions: dict[tuple[str, str], int] = {}
    for entry in topics.found:
        for record in entry.records:
            first = partitions.setdefault((entry.topic, record.aggregate), entry.partition)
            if first != entry.partition:
                yield Anomaly(
                    Kind.REORDERING,
                    f"{record} is in partition {entry.partition} of {entry.topic}, and others of "
                    f"its aggregate are in {first}",
                    entry.topic,
                    record.position,
                )


def _never_committed(entry: Found, writes: list[_Write], sends: list[_Send]) -> Iterator[Anomaly]:
    """Yield records that no writer, or no transaction, can have committed."""
    where = f"{entry.topic}, partition {entry.partition}"
    written = _by_event(writes)
    sent = _by_record(sends, entry)
    for record in entry.records:
        if writes:
            outcomes = written.get(record.event, ())
            if not outcomes:
                yield _unwritten(record, where, "no writer has logged it")
                continue
            if all(write.outcome is Outcome.FAILED for write in outcomes):
                yield Anomaly(
                    Kind.ABORTED_READ,
                    f"{record} is in {where}, and its writer's transaction was rolled back",
                    where,
                    record.position,
                    tuple(write.process for write in outcomes),
                )
        if sends:
            yield from _never_published(
                record, where, sent.get((record.position, record.event), ())
            )


def _never_published(
    record: Record, where: str, holding: Sequence[tuple[int, _Send]]
) -> Iterator[Anomaly]:
    there = [send for offset, send in holding if offset in {record.offset, UNKNOWN_OFFSET}]
    # The log may be at other offsets than it was: then any transaction that held it explains it.
    explaining = there or [send for _, send in holding]
    if not explaining:
        yield _unwritten(record, where, "no relay has logged it")
    elif all(send.fate is _Fate.ABORTED for send in explaining):
        yield Anomaly(
            Kind.ABORTED_READ,
            f"{record} is in {where}, and no transaction that held it was committed",
            where,
            record.position,
            tuple(f"{send.process}, transaction {send.entry.transaction}" for send in explaining),
        )


def _by_event(writes: list[_Write]) -> Mapping[Event, list[_Write]]:
    found: defaultdict[Event, list[_Write]] = defaultdict(list)
    for write in writes:
        for event in write.events:
            found[event.event].append(write)
    return found


def _by_record(
    sends: list[_Send], entry: Found
) -> Mapping[tuple[int, Event], list[tuple[int, _Send]]]:
    found: defaultdict[tuple[int, Event], list[tuple[int, _Send]]] = defaultdict(list)
    for send in sends:
        if (send.entry.topic, send.entry.partition) == (entry.topic, entry.partition):
            for record in send.records:
                found[record.position, record.event].append((record.offset, send))
    return found


def _unwritten(record: Record, where: str, why: str) -> Anomaly:
    return Anomaly(Kind.UNWRITTEN, f"{record} is in {where}: {why}", where, record.position)
