"""The relay: S1 to S5.

Why the tail of a partition (S2) is the own committed record of the highest position, and neither
the last one nor the end of the links from R's anchor: the relay appends in the order of positions,
so all three are the same as long as nobody else writes to the topic. A copy of an older record
(an operator's, a mirror's) would be the last, and what follows the copied event would be published
again. Following links gets past copies too, but falls back to the last one where the anchor is
lost, and passes over a record that looks like our own, without a link, which may as well be of
another relay over a copy of the write model. The highest position is one comparison, needs no
state, gets past copies wherever they are, and finds the stranger: S3 refuses it. R's anchor then
only says from where on to read: the record there, if it is the one that R names, has all others
before it.
"""

from typing import NamedTuple

from .kafka import (
    ABORT,
    ALL,
    COMMIT,
    EVENTS,
    NOTHING,
    POSITION,
    Log,
    Logs,
    Name,
    PositionRecord,
    Record,
    Request,
    Said,
    read,
)
from .rules import Rules


class Event(NamedTuple):
    """A stored event of the write model."""

    name: Name
    partition: int

    def __str__(self) -> str:
        """As a part of a trace."""
        return f"{self.name} in {self.partition}"


WriteModel = tuple[Event, ...]


class End(NamedTuple):
    """What a session knows of one log."""

    last: Name
    offset: int
    """Of the last record, as acknowledged or read."""
    sent: int
    """How many records this epoch has sent to it."""
    next: int
    """Where the next record goes, at the lowest."""


class Session(NamedTuple):
    """Where a relay is.

    absent, start, read, end open, idle, send, refused (the write model is another one), look (an
    error: has another taken over?), waiting (for its turn), ended (for good).
    """

    kind: str
    current: bool = False
    """Its epoch is the coordinator's."""
    position: int = 0
    ends: tuple[End, ...] = ()
    reach: int = 0
    """The position after the transaction."""
    steps: tuple[Request, ...] = ()
    """The requests left of the transaction. Numbers and offsets are filled in when they go."""

    def __str__(self) -> str:
        """As a part of a trace."""
        if self.kind != "idle":
            return self.kind
        tails = ", ".join(f"{end.last} at {end.offset}" for end in self.ends[:POSITION])
        return f"go on after {self.position}; tails: {tails}"


ABSENT, START, REFUSED = Session("absent"), Session("start"), Session("refused")
LOOK, WAITING, ENDED = Session("look"), Session("waiting"), Session("ended")
ASKING = frozenset({"start", "send", "end open"})
RESTING = frozenset({"absent", "refused", "waiting", "ended"})


def tail(rules: Rules, log: Log, said: Said | None) -> tuple[Name, int]:
    """S2: the last record of a partition's chain, and its offset."""
    if said and not rules.read_tails:
        return said.last, said.lowest
    found = read(log)
    own = found.own
    if said and (said.anchor, said.before) in found.names:
        own = tuple(each for each in own if each[0] >= said.anchor)
    if own:
        if rules.highest:
            offset, record = max(own, key=lambda each: (each[1].name.position, -each[0]))
        else:
            offset, record = own[-1]
        return record.name, offset
    if said and rules.aged_out and said.last != NOTHING and has_aged_out(log, said):
        return said.last, said.lowest
    return NOTHING, -1


def has_aged_out(log: Log, said: Said) -> bool:
    """Whether the partition begins beyond R's record, and once had the marker behind it."""
    return log.begin > said.lowest and len(log.entries) > said.lowest + 1


def prepare(rules: Rules, write_model: WriteModel, logs: Logs) -> Session:
    """S1 to S4: how a new producer's session goes on from what is in Kafka."""
    to_end = ALL if rules.end_open else (POSITION,)
    opened = tuple(q for q in to_end if read(logs[q]).stable < len(logs[q].entries))
    if opened:
        steps = (Request("add", opened), Request("end", how=ABORT))
        return Session("end open", current=True, steps=steps)
    newest = read(logs[POSITION]).positions[-1:]
    position = newest[0].position if newest else 0
    said = newest[0].partitions if newest else (None, None)
    tails = [tail(rules, logs[q], said[q]) for q in EVENTS]
    for q, (name, _) in zip(EVENTS, tails, strict=True):
        if name != NOTHING and rules.write_model and not has(rules, write_model, name, q):
            return REFUSED
    if rules.per_partition:
        position = min(
            tails[q][0].position
            if (each := said[q]) and tails[q][0].position < each.last.position
            else position
            for q in EVENTS
        )
    if position > len(write_model):
        return REFUSED
    ends = tuple(
        End(*tails[q], 0, len(logs[q].entries))
        if q in EVENTS
        else End(NOTHING, -1, 0, len(logs[q].entries))
        for q in ALL
    )
    return Session("idle", current=True, position=position, ends=ends)


def has(rules: Rules, write_model: WriteModel, name: Name, partition: int) -> bool:
    """Whether the write model has this very event."""
    if name.position > len(write_model):
        return False
    event = write_model[name.position - 1]
    return event.partition == partition and (not rules.identity or event.name.life == name.life)


def batches(
    session: Session, write_model: WriteModel, *, first: bool, at_once: bool
) -> list[Session]:
    """The sessions that have taken one or two events to publish."""
    found = []
    for reach in (session.position + 1, session.position + 2):
        if reach <= len(write_model):
            events = write_model[session.position : reach]
            found.append(begin_transaction(session, events, reach, first=first, at_once=at_once))
    return found


def begin_transaction(
    session: Session, events: WriteModel, reach: int, *, first: bool, at_once: bool
) -> Session:
    """Plan a transaction: its records linked, R before or after them, and its partitions added."""
    last = [end.last for end in session.ends]
    records = []
    for name, partition in events:
        if name.position > last[partition].position:
            records.append(Request("produce", (partition,), value=Record(name, last[partition])))
            last[partition] = name
    if not records:
        return session._replace(position=reach)
    said = PositionRecord(reach, 0, tuple(Said(last[q], NOTHING, -1, -1) for q in EVENTS))
    r = Request("produce", (POSITION,), value=said)
    sent = [r, *records] if first else [*records, r]
    steps, added = [], set[int]()
    if at_once:
        steps.append(Request("add", tuple(sorted({each.partitions[0] for each in sent}))))
    for each in sent:
        if not at_once and each.partitions[0] not in added:
            steps.append(Request("add", each.partitions))
            added.add(each.partitions[0])
        steps.append(each)
    steps.append(Request("end", how=COMMIT))
    return session._replace(kind="send", reach=reach, steps=tuple(steps))


def next_request(session: Session, instance: int) -> Request:
    """What the relay asks next, with its sequence number, and R with its offsets."""
    if session.kind == "start":
        return Request("init")
    request = session.steps[0]
    if request.kind != "produce":
        return request
    (partition,) = request.partitions
    value = request.value
    if isinstance(value, PositionRecord):
        partitions = tuple(
            said_of(session, q, each.last) for q, each in zip(EVENTS, value.partitions, strict=True)
        )
        value = PositionRecord(value.position, instance, partitions)
    return Request("produce", (partition,), session.ends[partition].sent, value)


def said_of(session: Session, partition: int, last: Name) -> Said:
    """What R says of a partition, of which records may still be to come."""
    end = session.ends[partition]
    left = sum(
        1 for step in session.steps if step.kind == "produce" and partition in step.partitions
    )
    return Said(last, end.last, end.offset, end.next + left - 1 if left else end.offset)


def answered(rules: Rules, session: Session, request: Request, answer: int | None) -> Session:
    """The session after an answer; an error is looked into, or taken at its word."""
    if answer is None:
        return LOOK if rules.other_instance else ENDED
    if session.kind == "start":
        return Session("read", current=True)
    if session.kind == "end open":
        steps = session.steps[1:]
        return session._replace(steps=steps) if steps else Session("read", current=True)
    if request.kind == "produce":
        return acknowledged(rules, session, request, answer)
    if request.kind == "end":
        return committed(session)
    return session._replace(steps=session.steps[1:])


def acknowledged(rules: Rules, session: Session, request: Request, offset: int) -> Session:
    """The session that knows a record's offset; below where it had to go, a tail was lost."""
    (partition,) = request.partitions
    end = session.ends[partition]
    if rules.acknowledged and offset < end.next:
        return START
    last = request.value.name if isinstance(request.value, Record) else NOTHING
    ends = list(session.ends)
    ends[partition] = End(last, offset, end.sent + 1, offset + 1)
    return session._replace(ends=tuple(ends), steps=session.steps[1:])


def committed(session: Session) -> Session:
    """The session after its transaction: each marker took an offset."""
    ends = tuple(
        end._replace(next=end.next + 1) if end.sent and end.offset + 1 == end.next else end
        for end in session.ends
    )
    return Session("idle", current=True, position=session.reach, ends=ends)


def sees_lost_tail(rules: Rules, session: Session, logs: Logs) -> bool:
    """S5, while idle: an end too low, or another record, or none, where the last one was.

    The end alone is not enough: a foreign record may have taken the place of a lost one.
    """
    return any(is_lost(rules, session.ends[q], logs[q]) for q in EVENTS)


def is_lost(rules: Rules, end: End, log: Log) -> bool:
    """Whether a partition has lost its tail; one that was deleted, by its age, is not lost."""
    found = read(log)
    if found.stable < end.next:
        return True
    if not rules.watch_record:
        return False
    return end.offset >= log.begin and (end.offset, end.last) not in found.names


def look(logs: Logs, instance: int) -> Session:
    """After an error: who wrote the last R tells whether another relay has taken over."""
    newest = read(logs[POSITION]).positions[-1:]
    return WAITING if newest and newest[0].instance != instance else START
