"""Relays, Kafka and a view together: their states, their steps, the faults, and what must hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple

from . import consumer, relay
from .consumer import NEW_VIEW, STRANGER, Label, Source, View
from .kafka import (
    ALL,
    EVENTS,
    FOREIGN,
    NEW_LOG,
    NOTHING,
    ONGOING,
    POSITION,
    Coordinator,
    Entry,
    Log,
    Logs,
    Name,
    Record,
    Request,
    append,
    bump,
    changed,
    handle,
    read,
)
from .relay import ABSENT, ASKING, RESTING, START, WAITING, Event, Session, WriteModel
from .rules import Rules

ALIEN = Record(Name(1, -2), NOTHING, own=False)
"""Another application's first event, in our topic."""


@dataclass(frozen=True)
class Scope:
    """How far to look: the write models, the faults, how many of them, and what is watched."""

    name: str
    patterns: tuple[tuple[int, ...], ...]
    """Write models to start from: the partition of each event."""
    faults: frozenset[str]
    most: int = 1
    """How many faults may happen."""
    losses: int = 1
    """How many of them may destroy what Kafka has acknowledged."""
    first: bool = True
    """R goes before the events of its transaction."""
    at_once: bool = True
    """One AddPartitionsToTxn for all partitions of a transaction."""
    watched: int = 0
    """The partition whose view is watched."""
    silence_only: bool = False
    """Whoever is not sure may stop, and Kafka's own double loss may double: only silence is bad."""
    readable: bool = False
    """What is deleted is no reason to stop: the view has a way to the write model."""

    @property
    def events(self) -> int:
        """How long a write model may become."""
        return len(self.patterns[0])


class State(NamedTuple):
    """Everything."""

    write_model: WriteModel
    life: int
    logs: Logs
    coordinator: Coordinator
    relays: tuple[Session, Session]
    late: tuple[Request, ...]
    view: View
    stale: View | None
    """The tracking as a consumer saw it last that has lost its partition and does not know."""
    strange: bool
    """A record that looks like our own, of another write model, has come to the topic."""
    duels: int
    """How often two relays may still fence one another, before the turn tells them apart."""
    most: int
    losses: int


class Step(NamedTuple):
    """A step to another state; a fault may as well not happen."""

    label: Label
    state: State
    fault: bool = False


def starts(scope: Scope) -> Iterator[State]:
    """Begin with each write model, and nothing in Kafka."""
    for pattern in scope.patterns:
        write_model = tuple(Event(Name(i + 1, 0), q) for i, q in enumerate(pattern))
        yield State(
            write_model=write_model,
            life=0,
            logs=(NEW_LOG,) * 3,
            coordinator=Coordinator(),
            relays=(START, ABSENT),
            late=(),
            view=NEW_VIEW,
            stale=None,
            strange=False,
            duels=1,
            most=scope.most,
            losses=scope.losses,
        )


def steps(rules: Rules, scope: Scope, state: State) -> Iterator[Step]:
    """All that can happen next."""
    moved = False
    for instance in (0, 1):
        for step in relay_steps(rules, scope, state, instance):
            moved = True
            yield step
    if not moved:
        yield from view_to_its_end(rules, scope, state)
    yield from late_steps(state)
    yield from stale_steps(rules, scope, state)
    if state.most:
        yield from faults(rules, scope, state)


# --- what goes on by itself ---


def relay_steps(rules: Rules, scope: Scope, state: State, instance: int) -> Iterator[Step]:
    """What a relay does next."""
    session = state.relays[instance]
    who = "relay", instance
    if session.kind in ASKING:
        request, logs, coordinator, answer = asked(state, instance)
        after = relay.answered(rules, session, request, answer)
        told = "refused" if answer is None else answer if request.kind == "produce" else "done"
        yield Step(
            (*who, request, "->", told),
            with_kafka(state, instance, after, logs, coordinator, request),
        )
    elif session.kind == "read":
        after = relay.prepare(rules, state.write_model, state.logs)
        after = after._replace(current=session.current and after.kind in {"idle", "end open"})
        yield Step((*who, "reads:", after), with_relay(state, instance, after))
    elif session.kind == "idle":
        if rules.watch and relay.sees_lost_tail(rules, session, state.logs):
            yield Step((*who, "sees that a tail is lost"), with_relay(state, instance, START))
        for after in relay.batches(
            session, state.write_model, first=scope.first, at_once=scope.at_once
        ):
            reach = after.reach if after.kind == "send" else after.position
            yield Step((*who, "takes events up to", reach), with_relay(state, instance, after))
    elif session.kind == "look":
        after = relay.look(state.logs, instance)
        if after == START and state.relays[1 - instance].kind not in RESTING:
            after = START if state.duels else WAITING
            state = state._replace(duels=max(0, state.duels - 1))
        yield Step((*who, "looks who wrote R:", after), with_relay(state, instance, after))
    elif session.kind == "waiting" and state.relays[1 - instance].kind in RESTING - {"refused"}:
        yield Step((*who, "has its turn again"), with_relay(state, instance, START))


def asked(state: State, instance: int) -> tuple[Request, Logs, Coordinator, int | None]:
    """Let Kafka handle what a relay asks next."""
    session = state.relays[instance]
    request = relay.next_request(session, instance)
    handled = handle(state.logs, state.coordinator, request, current=session.current)
    return (request, *handled)


def with_relay(state: State, instance: int, session: Session) -> State:
    """The state with a relay somewhere else."""
    relays = (session, state.relays[1]) if instance == 0 else (state.relays[0], session)
    return state._replace(relays=relays)


def with_kafka(
    state: State,
    instance: int,
    session: Session,
    logs: Logs,
    coordinator: Coordinator,
    request: Request,
    late: tuple[Request, ...] = (),
) -> State:
    """The state after Kafka has handled a request; a new epoch makes all else out of date."""
    state = state._replace(logs=logs, coordinator=coordinator, late=(*state.late, *late))
    if request.kind == "init":
        state = fenced(state)
    return with_relay(state, instance, session)


def fenced(state: State) -> State:
    """The state after a new epoch: what belongs to the one before comes to nothing."""
    one, other = (s._replace(current=False) if s.current else s for s in state.relays)
    return state._replace(
        relays=(one, other),
        late=tuple(request for request in state.late if request.kind == "init"),
    )


def view_to_its_end(rules: Rules, scope: Scope, state: State) -> Iterator[Step]:
    """Let the consumer go on as far as it can."""
    prefixes = list(view_prefixes(scope, rules, state))
    if len(prefixes) > 1:
        labels, view = prefixes[-1]
        yield Step(labels, state._replace(view=view))


def source_of(scope: Scope, state: State) -> Source:
    """What is known of the watched partition besides what is in it."""
    stored = tuple(e.name for e in state.write_model if e.partition == scope.watched)
    positions = read(state.logs[POSITION]).positions
    said = positions[-1].partitions[scope.watched].last if positions else NOTHING
    return Source(stored, said)


def view_prefixes(scope: Scope, rules: Rules, state: State) -> Iterator[tuple[Label, View]]:
    """How far the consumer may have come: what it did, and what has become of the view."""
    log, view, source = state.logs[scope.watched], state.view, source_of(scope, state)
    label: Label = ()
    seen = set()
    while view not in seen:
        yield label, view
        seen.add(view)
        follower = "crash of a follower" in scope.faults
        after = consumer.step(rules, log, view, source, follower=follower)
        if after is None:
            return
        label, view = (*label, *after[0], ";"), after[1]
    yield (*label, "for ever"), view._replace(place=-9)


def late_steps(state: State) -> Iterator[Step]:
    """Let Kafka handle what was late."""
    for index, request in enumerate(state.late):
        logs, coordinator, _ = handle(state.logs, state.coordinator, request, current=True)
        late = state.late[:index] + state.late[index + 1 :]
        after = state._replace(logs=logs, coordinator=coordinator, late=late)
        if request.kind == "init":
            after = fenced(after)
        yield Step(("LATE:", request), after, fault=True)


def stale_steps(rules: Rules, scope: Scope, state: State) -> Iterator[Step]:
    """Let a consumer that has lost its partition go on: the guard holds it up, or nothing does."""
    if state.stale is None:
        return
    gone = state._replace(stale=None)
    if rules.guard:
        if state.stale != state.view:
            yield Step(("the guard holds up a consumer too many",), gone)
        return
    stale = state.stale._replace(applied=state.view.applied)
    after = consumer.step(rules, state.logs[scope.watched], stale, source_of(scope, state))
    if after:
        yield Step(("A CONSUMER TOO MANY:", *after[0]), gone._replace(view=after[1]), fault=True)


# --- what may go wrong ---


def faults(rules: Rules, scope: Scope, state: State) -> Iterator[Step]:
    """All that can go wrong next."""
    state = state._replace(most=state.most - 1)
    for instance in (0, 1):
        session = state.relays[instance]
        if "lost" in scope.faults and session.kind in ASKING:
            yield from lost(rules, state, instance)
        if "crash" in scope.faults and session.kind not in RESTING | {"start"}:
            yield Step(("CRASH of relay", instance), with_relay(state, instance, START), fault=True)
    if "time-out" in scope.faults and state.coordinator.state == ONGOING:
        logs, coordinator = bump(state.logs, state.coordinator)
        after = fenced(state._replace(logs=logs, coordinator=coordinator))
        yield Step(("TIME-OUT: the coordinator aborts",), after, fault=True)
    if "second" in scope.faults and state.relays[1] == ABSENT:
        yield Step(("A SECOND RELAY runs as well",), with_relay(state, 1, START), fault=True)
    if "foreign" in scope.faults:
        yield from foreign(state)
    if "restored" in scope.faults:
        yield from restored(scope, state)
    yield from view_faults(rules, scope, state)
    yield from losses(rules, scope, state)


def lost(rules: Rules, state: State, instance: int) -> Iterator[Step]:
    """Lose a request, or its answer."""
    session = state.relays[instance]
    request, logs, coordinator, answer = asked(state, instance)
    ends_producer = rules.produce if request.kind == "produce" else rules.epoch
    keeps = request.kind == "init" or session.current
    after_answer = relay.answered(rules, session, request, answer)
    late = (request,) if keeps else ()
    if ends_producer:
        handled = with_kafka(state, instance, START, logs, coordinator, request)
        yield Step(("LOST: the answer to", request), handled, fault=True)
        not_yet = with_relay(state, instance, START)._replace(late=(*state.late, *late))
        yield Step(("LOST, for now:", request), not_yet, fault=True)
        return
    resent = with_kafka(state, instance, after_answer, logs, coordinator, request, late)
    yield Step(("LOST, for now, and sent again:", request), resent, fault=True)
    if request.kind != "produce":
        logs, coordinator, answer = handle(logs, coordinator, request, current=keeps)
        after_answer = relay.answered(rules, session, request, answer)
        twice = with_kafka(state, instance, after_answer, logs, coordinator, request)
        yield Step(("LOST, and sent again: the answer to", request), twice, fault=True)


def foreign(state: State) -> Iterator[Step]:
    """Let someone else write to our topic: another application, a copier, a stranger."""
    for q in EVENTS:
        yield Step(("ALIEN in", q), with_foreign(state, q, ALIEN), fault=True)
        for name, record in {r.name: r for _, r in read(state.logs[q]).own}.items():
            yield Step(("COPY of", name, "in", q), with_foreign(state, q, record), fault=True)
        stranger = Record(STRANGER, Name(STRANGER.position - 1, STRANGER.life))
        after = with_foreign(state, q, stranger)._replace(strange=True)
        yield Step(("STRANGER in", q), after, fault=True)


def with_foreign(state: State, partition: int, record: Record) -> State:
    """The state with a record of someone else's, outside of any transaction."""
    return state._replace(logs=append(state.logs, partition, Entry(FOREIGN, record)))


def restored(scope: Scope, state: State) -> Iterator[Step]:
    """Restore the write model from a backup, after which it may have grown again."""
    life = state.life + 1
    one, other = (s if s.kind == "absent" else START for s in state.relays)
    for keep in range(len(state.write_model)):
        for grown in range(keep, scope.events + 1):
            for where in product(EVENTS, repeat=grown - keep):
                new = tuple(Event(Name(keep + i + 1, life), q) for i, q in enumerate(where))
                write_model = state.write_model[:keep] + new
                after = state._replace(write_model=write_model, life=life, relays=(one, other))
                label = ("RESTORED up to", keep, "and grown:", *write_model)
                yield Step(label, after, fault=True)


def view_faults(rules: Rules, scope: Scope, state: State) -> Iterator[Step]:
    """What can happen to the view: a consumer too many, a late note, an operator."""
    if "consumer too many" in scope.faults and state.stale is None:
        for label, view in view_prefixes(scope, rules, state):
            after = state._replace(view=view, stale=view)
            yield Step((*label, "A CONSUMER TOO MANY"), after, fault=True)
    if "crash of a follower" in scope.faults and not rules.note_first:
        prefixes = list(view_prefixes(scope, rules, state))
        for until, (label, view) in enumerate(prefixes):
            for _, noted in prefixes[:until]:
                crashed = view._replace(last=noted.last, place=noted.place, stopped=False)
                crash = (*label, "CRASH of the follower, which has noted", noted.last)
                yield Step(crash, state._replace(view=crashed), fault=True)
    if "operator" in scope.faults:
        label, view = list(view_prefixes(scope, rules, state))[-1]
        if view.stopped:
            yield from permissions(rules, scope, state, label, view)


def permissions(
    rules: Rules, scope: Scope, state: State, label: Label, view: View
) -> Iterator[Step]:
    """What an operator may permit a partition that has stopped."""
    log = state.logs[scope.watched]
    if after := consumer.skip(rules, log, view):
        told = (*label, "AN OPERATOR lets it go on after", after.last)
        yield Step(told, state._replace(view=after), fault=True)
    if after := consumer.pass_over(rules, log, view):
        told = (*label, "AN OPERATOR lets it pass over what follows")
        yield Step(told, state._replace(view=after), fault=True)


def losses(rules: Rules, scope: Scope, state: State) -> Iterator[Step]:
    """Destroy what is in Kafka; the view may have come anywhere before, and looks again after.

    A stop is not stored: it is found again, or not, by the next consumer.
    """
    if not state.losses:
        return
    before = state.logs[scope.watched]
    for label, logs in damages(scope, state.logs):
        after = state._replace(logs=logs, losses=state.losses - 1)
        prefixes: list[tuple[Label, View]] = [((), state.view)]
        if logs[scope.watched] != before:
            prefixes = list(view_prefixes(scope, rules, state))
        for so_far, view in prefixes:
            looks_again = view._replace(stopped=False)
            yield Step((*so_far, *label), after._replace(view=looks_again), fault=True)


def damages(scope: Scope, logs: Logs) -> Iterator[tuple[Label, Logs]]:
    """What may become of the logs: deleted up to somewhere, or from somewhere on, or new."""
    for q in EVENTS if "aged" in scope.faults else ():
        begin, entries = logs[q]
        for kept in range(begin + 1, read(logs[q]).stable + 1):
            yield ("AGED OUT: of", q, "before", kept), changed(logs, q, Log(kept, entries))
    for q in ALL if "tail" in scope.faults else ():
        begin, entries = logs[q]
        for cut in range(begin, len(entries)):
            yield ("TAIL LOST: of", q, "from", cut), changed(logs, q, Log(begin, entries[:cut]))
    if any(logs[q].entries for q in EVENTS):
        if "anew" in scope.faults:
            yield ("TOPIC MADE ANEW",), (NEW_LOG, NEW_LOG, logs[POSITION])
        if "all anew" in scope.faults:
            yield ("TOPICS MADE ANEW, the position's too",), (NEW_LOG,) * 3


# --- what must hold ---

DOUBLED_IN_TOPIC = "doubled or out of order in the topic"
DOUBLED_IN_VIEW = "applied twice to the view"
LOST_IN_TOPIC = "the topic differs from the write model, and nobody says so"
WRONG_VIEW = "the view differs from the write model, and nobody says so"
NEEDLESS = "needlessly stopped"
DEAD_END = "never comes to rest"


class Wrong(NamedTuple):
    """What is wrong with a state: its kind, and more."""

    kind: str
    details: str = ""


def wrong_at_once(scope: Scope, state: State) -> Wrong | None:
    """What must not be, even for a moment."""
    applied = state.view.applied
    if len(set(applied)) < len(applied):
        return Wrong(DOUBLED_IN_VIEW, str([tuple(name) for name in applied]))
    for q in EVENTS if not scope.silence_only else ():
        places = [record.name.position for _, record in read(state.logs[q]).published]
        if any(b <= a for a, b in pairwise(places)):
            return Wrong(DOUBLED_IN_TOPIC, f"partition {q} has {places}")
    return None


def wrong_at_rest(rules: Rules, scope: Scope, state: State) -> Wrong | None:
    """What must not be where nothing goes on, unless someone says so."""
    log = state.logs[scope.watched]
    said = consumer.says(rules, log, state.view, source_of(scope, state))
    refused = any(session.kind == "refused" for session in state.relays)
    if refused or said:
        return needless(scope, state, refused=refused)
    wrong = None if scope.silence_only else wrong_topic(state)
    return wrong or wrong_view(scope, state)


def needless(scope: Scope, state: State, *, refused: bool) -> Wrong | None:
    """Nobody stops without need: everything of the one write model has been there to be read.

    Where the view has a way to the write model it still is.
    """
    log = state.logs[scope.watched]
    if state.life or state.strange or scope.silence_only or state.view.skipped:
        return None
    deleted = {record.name for at, record in read(log).published if at < log.begin}
    if refused or (state.view.stopped and (scope.readable or deleted <= set(state.view.applied))):
        return Wrong(NEEDLESS, "relay" if refused else "view")
    there = any(record.name == state.view.last for _, record in read(log).own)
    if not state.view.stopped and (there or log.begin == 0):
        return Wrong(NEEDLESS, "view waits")
    return None


def wrong_topic(state: State) -> Wrong | None:
    """Each event is in its partition, once, in order; what was deleted may be there again."""
    for q in EVENTS:
        have = [record.name for _, record in read(state.logs[q]).published]
        want = [event.name for event in state.write_model if event.partition == q]
        if sorted(set(have)) != want or (state.logs[q].begin == 0 and have != want):
            return Wrong(LOST_IN_TOPIC, f"partition {q}: {told(have)}, write model: {told(want)}")
    return None


def wrong_view(scope: Scope, state: State) -> Wrong | None:
    """The view has applied the events of its partition, but for what an operator let it skip."""
    if state.strange and state.view.skipped:
        return None  # an operator who lets a view go on with a stranger's record has that
    excused = max((skip.to.position for skip in state.view.skipped), default=0)
    want = [e.name for e in state.write_model if e.partition == scope.watched]
    have = list(state.view.applied)
    if [n for n in have if n.position > excused] != [n for n in want if n.position > excused]:
        return Wrong(WRONG_VIEW, f"view: {told(have)}, write model: {told(want)}")
    return None


def told(names: list[Name]) -> str:
    """Names, for a message."""
    return str([tuple(name) for name in names])
