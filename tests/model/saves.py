"""A small model of how saves are recorded in Cassandra, whatever a client does not come to.

The rules are those of `docs/CASSANDRA.md`. A save is one row, put by a lightweight transaction at
the position behind the row before; its events are copied to the partitions of their aggregates.
Modelled: clients that die, answers that are lost, requests that take effect late, readers of
aggregates, and a relay whose reads miss a row. Not modelled: replicas (a lightweight transaction,
and what a quorum has acknowledged, are taken to be what Cassandra says of them), and buckets, since
the key of a row follows from its position alone.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

Event = tuple[str, int]
"""An aggregate, and a version."""
Saves = tuple[tuple[Event, ...], ...]
"""The events that each client saves."""


@dataclass(frozen=True)
class Rules:
    """What can be taken out, to see what goes wrong without it."""

    complete_first: bool = True
    """Nobody appends before the last save is copied."""
    check_behind_tail: bool = True
    """Versions are looked at again when somebody else has appended."""
    same_position: bool = True
    """After a request without an answer the same position is tried again."""
    own_is_success: bool = True
    """Who finds its own save at that position has put it there."""
    merge_tail: bool = True
    """Who reads an aggregate adds the last save."""
    tail_first: bool = True
    """And reads that before the aggregate's partition."""
    cut_at_gap: bool = True
    """Who reads by position passes no position that it does not see."""


class Client(NamedTuple):
    """A client: what it does next, and what it knows."""

    at: str = "check"
    tail: int = 0
    """The position up to which it knows the saves, at first from long ago."""
    left: tuple[str, ...] = ()
    """The aggregates that it has yet to copy to, or to look at."""


class Reader(NamedTuple):
    """A reader of one aggregate, which reads twice."""

    at: str = "begin"
    wanted: frozenset[int] = frozenset()
    """The versions that there were when it began."""
    found: frozenset[int] = frozenset()


@dataclass(frozen=True)
class State:
    """What there is at one moment."""

    rows: tuple[tuple[int, int], ...] = ()
    """Position and save of each row, in the order in which they were put."""
    copied: frozenset[tuple[int, str]] = frozenset()
    """Which save is copied to which aggregate."""
    late: frozenset[tuple[int, int]] = frozenset()
    """Requests that may still take effect: position and save."""
    clients: tuple[Client, ...] = ()
    reader: Reader = field(default_factory=Reader)
    relayed: tuple[int, ...] = ()
    """The saves that the relay has taken."""
    faults: int = 0


@dataclass
class Explored:
    """What was found."""

    states: int = 0
    wrong: str = ""
    story: list[str] = field(default_factory=list)


def explore(saves: Saves, rules: Rules, faults: int) -> Explored:
    """Try every order of steps, with so many faults at most, and stop where something is wrong."""
    start = State(clients=(Client(),) * len(saves), faults=faults)
    came_from: dict[State, tuple[State | None, str]] = {start: (None, "")}
    queue = deque([start])
    model = Model(saves, rules)
    while queue:
        state = queue.popleft()
        if wrong := model.wrong(state):
            return Explored(len(came_from), wrong, _story(came_from, state))
        for label, after in model.steps(state):
            if after not in came_from:
                came_from[after] = (state, label)
                queue.append(after)
    return Explored(len(came_from))


def _story(came_from: dict[State, tuple[State | None, str]], state: State) -> list[str]:
    labels = []
    at: State | None = state
    while at is not None:
        at, label = came_from[at]
        labels.append(label)
    return labels[-2::-1]


class Model:
    """The steps that there are, and what must be so."""

    def __init__(self, saves: Saves, rules: Rules) -> None:
        self.saves, self.rules = saves, rules

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield all that can happen next."""
        for number, client in enumerate(state.clients):
            for label, after in self._client(state, number, client):
                yield f"{'ABC'[number]} {label}", after
            if state.faults and client.at not in {"saved", "refused", "dead"}:
                dead = client._replace(at="dead", left=())
                yield f"{'ABC'[number]} dies", _with(state, number, dead, faults=state.faults - 1)
        for position, save in state.late:
            put = self._put(state, position, save)
            yield "a late request takes effect", replace(put, late=state.late - {(position, save)})
        yield from self._read(state)
        yield from self._relay(state)

    def _client(self, state: State, number: int, client: Client) -> Iterator[tuple[str, State]]:
        match client.at:
            case "find":
                tail = self._end(state)
                complete = self._aggregates(state, tail) if self.rules.complete_first else ()
                knows = client._replace(at="complete", tail=tail, left=complete)
                yield f"finds the end at {tail}", _with(state, number, knows)
            case "complete" if client.left:
                save = self._ending_at(state, client.tail)
                copied = state.copied | {(save, client.left[0])}
                on = client._replace(left=client.left[1:])
                yield f"copies {client.left[0]} of {save}", _with(state, number, on, copied=copied)
            case "complete":
                yield from self._begin_check(state, number, client)
            case "check":
                yield from self._check(state, number, client)
            case "append":
                yield from self._append(state, number, client)
            case "copy" if client.left:
                copied = state.copied | {(number, client.left[0])}
                on = client._replace(left=client.left[1:])
                yield f"copies {client.left[0]}", _with(state, number, on, copied=copied)
            case "copy":
                yield "is told that it is saved", _with(state, number, client._replace(at="saved"))

    def _begin_check(
        self, state: State, number: int, client: Client
    ) -> Iterator[tuple[str, State]]:
        again = self.rules.check_behind_tail
        on = client._replace(at="check" if again else "append")
        yield "goes on", _with(state, number, on)

    def _check(self, state: State, number: int, client: Client) -> Iterator[tuple[str, State]]:
        """Look at the partitions of its aggregates: one query each, here at once."""
        there = {
            event
            for save, aggregate in state.copied
            for event in self.saves[save]
            if event[0] == aggregate
        }
        taken = there.intersection(self.saves[number])
        on = client._replace(at="refused" if taken else "append")
        yield (
            f"finds {'its versions taken' if taken else 'nothing there'}",
            _with(state, number, on),
        )

    def _append(self, state: State, number: int, client: Client) -> Iterator[tuple[str, State]]:
        position = client.tail + 1
        there = dict(state.rows).get(position)
        copy = client._replace(at="copy", left=_names(self.saves[number]))
        find = client._replace(at="find")
        if there is not None:
            is_own = there == number and self.rules.own_is_success
            yield (
                f"is told that {there} is at {position}",
                _with(state, number, copy if is_own else find),
            )
            return
        yield f"puts it at {position}", _with(self._put(state, position, number), number, copy)
        if not state.faults:
            return
        unknown = client if self.rules.same_position else find
        fewer = state.faults - 1
        yield (
            f"puts it at {position} and is not told",
            _with(self._put(state, position, number), number, unknown, faults=fewer),
        )
        late = state.late | {(position, number)}
        yield (
            f"asks for {position}, in vain so far",
            _with(state, number, unknown, late=late, faults=fewer),
        )

    def _put(self, state: State, position: int, save: int) -> State:
        """Put a row where there is none: Cassandra decides."""
        if position in dict(state.rows):
            return state
        return replace(state, rows=(*state.rows, (position, save)))

    def _read(self, state: State) -> Iterator[tuple[str, State]]:
        """Read the aggregate x: the end, and its partition."""
        reader = state.reader
        match reader.at:
            case "begin" if state.rows:
                first = self._of_tail(state) if self.rules.tail_first else self._of_partition(state)
                on = Reader("again", self._decided(state), first)
                yield "somebody begins to read x", replace(state, reader=on)
            case "again":
                second = (
                    self._of_partition(state) if self.rules.tail_first else self._of_tail(state)
                )
                on = reader._replace(at="end", found=reader.found | second)
                yield "somebody has read x", replace(state, reader=on)

    def _of_tail(self, state: State) -> frozenset[int]:
        end = self._end(state)
        events = self.saves[self._ending_at(state, end)] if self.rules.merge_tail and end else ()
        return frozenset(version for name, version in events if name == "x")

    def _of_partition(self, state: State) -> frozenset[int]:
        saves = [save for save, name in state.copied if name == "x"]
        return frozenset(v for save in saves for name, v in self.saves[save] if name == "x")

    def _decided(self, state: State) -> frozenset[int]:
        return frozenset(v for _, s in state.rows for name, v in self.saves[s] if name == "x")

    def _relay(self, state: State) -> Iterator[tuple[str, State]]:
        """Read rows by position; a read may miss one, as replicas are read at different moments."""
        for missed in (None, *(position for position, _ in state.rows)):
            seen = {position: save for position, save in state.rows if position != missed}
            taken = state.relayed
            at = sum(len(self.saves[save]) for save in taken) + 1
            for position in sorted(position for position in seen if position >= at):
                if self.rules.cut_at_gap and position != at:
                    break
                taken = (*taken, seen[position])
                at = position + len(self.saves[seen[position]])
            if taken != state.relayed:
                yield f"the relay reads, and misses {missed}", replace(state, relayed=taken)

    def _end(self, state: State) -> int:
        return max((p + len(self.saves[save]) - 1 for p, save in state.rows), default=0)

    def _ending_at(self, state: State, end: int) -> int:
        return next(s for p, s in state.rows if p + len(self.saves[s]) - 1 == end)

    def _aggregates(self, state: State, tail: int) -> tuple[str, ...]:
        return _names(self.saves[self._ending_at(state, tail)]) if tail else ()

    def wrong(self, state: State) -> str:
        """Return what must not be so, and is."""
        decided = [save for _, save in sorted(state.rows)]
        told = (
            self._wrong_rows(state, decided),
            *(self._wrong_answer(decided, *told) for told in enumerate(state.clients)),
            state.reader.at == "end"
            and not state.reader.wanted <= state.reader.found
            and "a reader of an aggregate misses an event",
            list(state.relayed) != decided[: len(state.relayed)]
            and "the relay passes over an event",
        )
        return str(next(filter(None, told), ""))

    def _wrong_rows(self, state: State, decided: list[int]) -> str:
        events = [event for save in decided for event in self.saves[save]]
        lengths = [len(self.saves[save]) for save in decided]
        if [position for position, _ in sorted(state.rows)] != [
            sum(lengths[:number]) + 1 for number in range(len(lengths))
        ]:
            return "a hole, or two saves at one position"
        if len(set(decided)) < len(decided):
            return "a save is recorded twice"
        return "a version is recorded twice" if len(set(events)) < len(events) else ""

    def _wrong_answer(self, decided: list[int], number: int, client: Client) -> str:
        if client.at == "saved" and number not in decided:
            return "a save that was acknowledged is not there"
        if client.at == "refused":
            if number in decided:
                return "a save that was refused is there"
            events = {event for save in decided for event in self.saves[save]}
            if not events.intersection(self.saves[number]):
                return "a save is refused for nothing"
        return ""


def _names(events: tuple[Event, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name, _ in events))


def _with(state: State, number: int, client: Client, **changes: object) -> State:
    clients = (*state.clients[:number], client, *state.clients[number + 1 :])
    return replace(state, clients=clients, **changes)  # type: ignore[arg-type]
