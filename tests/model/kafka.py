"""Kafka as the chain sees it: logs, and a coordinator for one transactional id.

The broker keeps to the first version of the transaction protocol, with Kafka's own check that a
record's partition was added to an open transaction.
"""

from functools import lru_cache
from typing import NamedTuple

SENT, FOREIGN, COMMIT, ABORT = "sent", "foreign", "commit", "abort"
EMPTY, ONGOING = "empty", "ongoing"
EVENTS = (0, 1)
POSITION = 2
ALL = (*EVENTS, POSITION)


class Name(NamedTuple):
    """What tells an event: its position, and its identity (the life of its write model)."""

    position: int
    life: int

    def __str__(self) -> str:
        """As in a trace: position/life."""
        return f"{self.position}/{self.life}"


NOTHING = Name(0, 0)


class Record(NamedTuple):
    """An event in a partition, with its predecessor; `own` is false where C1 finds it foreign."""

    name: Name
    before: Name
    own: bool = True

    def __str__(self) -> str:
        """As a part of a trace."""
        return f"{self.name} after {self.before}"


class Said(NamedTuple):
    """What R says of one partition: its last record, the one before R's transaction, the lowest.

    For partitions that R's own transaction writes to, the lowest is the offset of the last record
    if nothing comes in between; for the others it is the offset of the last record, which is the
    one before as well. -1 is before the start.
    """

    last: Name
    before: Name
    anchor: int  # the offset of the one before
    lowest: int

    def __str__(self) -> str:
        """As a part of a trace."""
        return f"{self.last} at {self.lowest} or beyond, behind {self.before} at {self.anchor}"


class PositionRecord(NamedTuple):
    """R: up to where all is published, who published it, and where that has led to."""

    position: int
    instance: int
    partitions: tuple[Said, ...]

    def __str__(self) -> str:
        """As a part of a trace."""
        return f"R {self.position} ({', '.join(map(str, self.partitions))})"


Value = Record | PositionRecord | None


class Entry(NamedTuple):
    """One place in a log. `current`: it was sent in the coordinator's epoch of now."""

    kind: str
    value: Value = None
    current: bool = False


class Log(NamedTuple):
    """A partition; what is before `begin` has been deleted, and is kept only to be compared."""

    begin: int
    entries: tuple[Entry, ...]


Logs = tuple[Log, ...]
NEW_LOG = Log(0, ())


class Found(NamedTuple):
    """What a read_committed reader can read of a log."""

    own: tuple[tuple[int, Record], ...]  # that look like the relay's own
    others: tuple[tuple[int, Record], ...]  # own and foreign, in order
    names: frozenset[tuple[int, Name]]  # of own ones, by their offsets
    positions: tuple[PositionRecord, ...]
    stable: int
    end: int
    published: tuple[tuple[int, Record], ...]  # what the relay committed, deleted or not


@lru_cache(maxsize=300_000)
def read(log: Log) -> Found:
    """Read a log from its begin to its last stable offset."""
    own, others, positions, published = [], [], [], []
    ended_by, stable = "", len(log.entries)
    for offset in range(len(log.entries) - 1, -1, -1):
        kind, value, _ = log.entries[offset]
        if kind in {COMMIT, ABORT}:
            ended_by = kind
            continue
        if kind == SENT and not ended_by:
            stable = offset
        if kind == SENT and ended_by != COMMIT:
            continue
        if isinstance(value, PositionRecord):
            positions.append((offset, value))
        if isinstance(value, Record):
            others.append((offset, value))
            if kind == SENT:
                published.append((offset, value))
    others = [each for each in reversed(others) if log.begin <= each[0] < stable]
    own = [each for each in others if each[1].own]
    said = [value for offset, value in reversed(positions) if log.begin <= offset < stable]
    return Found(
        tuple(own),
        tuple(others),
        frozenset((offset, record.name) for offset, record in own),
        tuple(said),
        stable,
        len(log.entries),
        tuple(reversed(published)),
    )


class Coordinator(NamedTuple):
    """The state of the one transactional id. Its epoch is known by who has it (`current`)."""

    state: str = EMPTY
    partitions: tuple[int, ...] = ()


class Request(NamedTuple):
    """InitProducerId, AddPartitionsToTxn, Produce or EndTxn."""

    kind: str  # "init", "add", "produce", "end"
    partitions: tuple[int, ...] = ()  # of add, and the one of produce
    number: int = 0  # the sequence number of a produced record
    value: Value = None
    how: str = ""  # COMMIT or ABORT

    def __str__(self) -> str:
        """As a part of a trace."""
        if self.kind == "produce":
            return f"Produce to {self.partitions[0]}: {self.value}, its number {self.number}"
        if self.kind == "add":
            return f"AddPartitionsToTxn {self.partitions}"
        return f"EndTxn {self.how}" if self.kind == "end" else "InitProducerId"


def append(logs: Logs, partition: int, entry: Entry) -> Logs:
    """Put an entry at the end of a log."""
    begin, entries = logs[partition]
    return changed(logs, partition, Log(begin, (*entries, entry)))


def changed(logs: Logs, partition: int, log: Log) -> Logs:
    """Replace a log."""
    return (*logs[:partition], log, *logs[partition + 1 :])


@lru_cache(maxsize=100_000)
def in_a_new_epoch(log: Log) -> Log:
    """A log, once the epoch in which some of its records were sent is over."""
    return Log(log.begin, tuple(e._replace(current=False) if e.current else e for e in log.entries))


def bump(logs: Logs, coordinator: Coordinator) -> tuple[Logs, Coordinator]:
    """Abort what is open, and begin a new epoch: InitProducerId, or the coordinator's time-out."""
    if coordinator.state == ONGOING:
        for partition in coordinator.partitions:
            logs = append(logs, partition, Entry(ABORT))
    return tuple(map(in_a_new_epoch, logs)), Coordinator()


def handle(
    logs: Logs, coordinator: Coordinator, request: Request, *, current: bool
) -> tuple[Logs, Coordinator, int | None]:
    """Let the broker handle a request; its answer is an offset, 0, or None for an error."""
    if request.kind == "init":
        return *bump(logs, coordinator), 0
    if not current:
        return logs, coordinator, None
    if request.kind == "add":
        open_now = coordinator.partitions if coordinator.state == ONGOING else ()
        partitions = tuple(sorted({*open_now, *request.partitions}))
        return logs, Coordinator(ONGOING, partitions), 0
    if request.kind == "end":
        return end_transaction(logs, coordinator, request.how)
    return produce(logs, coordinator, request)


def end_transaction(
    logs: Logs, coordinator: Coordinator, how: str
) -> tuple[Logs, Coordinator, int | None]:
    """EndTxn, which may be asked for again."""
    if coordinator.state == ONGOING:
        for partition in coordinator.partitions:
            logs = append(logs, partition, Entry(how))
        return logs, Coordinator(how), 0
    return logs, coordinator, 0 if coordinator.state == how else None


def produce(
    logs: Logs, coordinator: Coordinator, request: Request
) -> tuple[Logs, Coordinator, int | None]:
    """Append a record, unless its sequence number is known; a log that has nothing takes any."""
    (partition,) = request.partitions
    if coordinator.state != ONGOING or partition not in coordinator.partitions:
        return logs, coordinator, None
    entries = logs[partition].entries
    mine = [offset for offset, entry in enumerate(entries) if entry.current]
    if entries and request.number != len(mine):
        known = request.number < len(mine)
        return logs, coordinator, mine[request.number] if known else None
    return (
        append(logs, partition, Entry(SENT, request.value, current=True)),
        coordinator,
        len(entries),
    )
