"""The consumer of one partition, in front of one view: C1 to C7.

T is the tracked event; `place` is the offset of its record, a hint: the chain tells whether it is
right. What lies behind the place and is foreign or a duplicate is passed over again each time, so
that passing over it needs no tracking.
"""

from typing import NamedTuple

from .kafka import NOTHING, Log, Name, Record, read
from .rules import Rules

Label = tuple[object, ...]
"""What has happened, for a trace; put into words only where it is printed."""

STRANGER = Name(7, -1)
"""An event of another write model, whose relay writes to our topic."""


class Skip(NamedTuple):
    """What an operator has let a view skip: the positions above `after`, up to `to`."""

    after: Name
    to: Name


class View(NamedTuple):
    """A view and its tracking, which change together, and what stands beside it."""

    last: Name = NOTHING  # T
    place: int = -1  # the offset of T's record
    stopped: bool = False
    applied: tuple[Name, ...] = ()
    skipped: tuple[Skip, ...] = ()
    passed: frozenset[tuple[int, Name]] = frozenset()
    """The records, by offset, that an operator has told to be foreign."""


NEW_VIEW = View()


class Source(NamedTuple):
    """What is known of a partition besides what is in it."""

    stored: tuple[Name, ...] = ()
    """Its events in the write model, in their order."""
    said: Name = NOTHING
    """The last one, by the last position record."""


def step(
    rules: Rules, log: Log, view: View, source: Source, *, follower: bool = False
) -> tuple[Label, View] | None:
    """What the consumer does next, and what has become of the view; None if there is nothing.

    A follower's T is only noted; the library's own tracking removes what was applied before (C6).
    """
    if view.stopped:
        return None
    follows = next_record(rules, log, view)
    if follows and not breaks(rules, follows[1], view.last):
        offset, record = follows
        return ("view applies", record.name), applied(view, record.name, offset, follower)
    if deleted := next_deleted(rules, log, view, source):
        told = ("view applies, from the write model,", deleted)
        return told, applied(view, deleted, view.place, follower)
    if follows or (rules.check_place and misplaced(rules, log, view)):
        return search(rules, log, view)
    return None


def applied(view: View, name: Name, place: int, follower: bool) -> View:
    """The view with one more event, which the library leaves out if it has been there (C6)."""
    names = view.applied
    if not follower or not names or name.position > names[-1].position:
        names = tuple(sorted((*names, name)))
    return view._replace(last=name, place=place, applied=names)


def next_deleted(rules: Rules, log: Log, view: View, source: Source) -> Name | None:
    """C7: what comes next in the write model, if it was deleted; None as well if that is another.

    The first record that is not applied names the last one that is deleted, or else R does.
    """
    if not rules.outbox or not log.begin:
        return None
    place = place_of(rules, log, view.last)
    follows = next_record(rules, log, view._replace(place=-1 if place is None else place))
    if follows and place is not None:
        return None
    goal = follows[1].before if follows else source.said
    there = {NOTHING, *source.stored}
    if goal.position <= view.last.position or not {view.last, goal} <= there:
        return None
    return next(name for name in source.stored if name.position > view.last.position)


def next_record(rules: Rules, log: Log, view: View) -> tuple[int, Record] | None:
    """The next record behind the place that is neither foreign (C1) nor a duplicate (C2)."""
    for offset, record in records(rules, log):
        if offset <= view.place or (offset, record.name) in view.passed:
            continue
        altered = record.name != view.last and rules.identity
        same_position = record.name.position == view.last.position and altered
        if record.name.position > view.last.position or same_position:
            return offset, record
    return None


def records(rules: Rules, log: Log) -> tuple[tuple[int, Record], ...]:
    """The records that this consumer takes for its own."""
    return read(log).own if rules.foreign else read(log).others


def breaks(rules: Rules, record: Record, last: Name) -> bool:
    """C2: whether a record, not below T, is not the next one."""
    if record.name.position <= last.position:
        return True
    if not rules.predecessor:
        return False
    if not rules.identity:
        return record.before.position != last.position
    return record.before != last


def misplaced(rules: Rules, log: Log, view: View) -> bool:
    """C3: whether T is not at its place; one that has been deleted there is nowhere else either."""
    at = [offset for offset, record in records(rules, log) if same(rules, record.name, view.last)]
    return view.place not in at if view.place >= log.begin else bool(at)


def same(rules: Rules, one: Name, other: Name) -> bool:
    """Whether two names are of one event."""
    return one == other if rules.identity else one.position == other.position


def search(rules: Rules, log: Log, view: View) -> tuple[Label, View] | None:
    """C3 and C4: look for T in the whole partition; None while the topic is behind the view."""
    own = records(rules, log)
    found = place_of(rules, log, view.last)
    if found is not None:
        if found != view.place:
            return ("view goes on behind offset", found), view._replace(place=found)
        if not rules.stop_where_found:
            return ("view searches again",), view
        return ("view STOPS: what follows there is the break",), view._replace(stopped=True)
    tail = max((record.name for _, record in own), default=NOTHING)
    if tail.position < view.last.position:
        return None
    return ("view STOPS: what it has applied last is gone",), view._replace(stopped=True)


def place_of(rules: Rules, log: Log, last: Name) -> int | None:
    """The offset behind which to go on after T: of its record, or before its successor."""
    own = records(rules, log)
    # A copy may lie behind records that come after it, when its original is deleted.
    new = [(offset, record) for offset, record in own if record.name.position > last.position]
    before = new[0][0] if new and log.begin else len(log.entries)
    at = [o for o, record in own if same(rules, record.name, last) and o < before]
    if at:
        return at[0] if rules.first_found else at[-1]
    if last == NOTHING and log.begin == 0:
        return -1
    if last != NOTHING and not rules.before_successor:
        return None
    if not log.begin:
        return next((o - 1 for o, record in own if same(rules, record.before, last)), None)
    return before - 1 if new and same(rules, new[0][1].before, last) else None


def skip(rules: Rules, log: Log, view: View) -> View | None:
    """C5: T becomes the predecessor of the record that does not follow; go on with that record."""
    follows = next_record(rules, log, view)
    if follows is None:
        return None
    offset, record = follows
    to = record.before
    if not rules.recorded_skip:
        return view._replace(last=to, place=offset - 1, stopped=False)
    if to.position < view.last.position:
        return None
    skipped = (*view.skipped, Skip(view.last, to))
    return view._replace(last=to, place=offset - 1, stopped=False, skipped=skipped)


def pass_over(rules: Rules, log: Log, view: View) -> View | None:
    """C5: the record that does not follow is foreign: T stays, and it is parked by its offset."""
    follows = next_record(rules, log, view)
    if follows is None:
        return None
    offset, record = follows
    return view._replace(stopped=False, passed=view.passed | {(offset, record.name)})


def says(rules: Rules, log: Log, view: View, source: Source) -> str:
    """What the view says of itself, if anything."""
    if view.stopped:
        return "the view has stopped"
    if rules.outbox and log.begin and view.last == source.said and not records(rules, log):
        return ""  # Nothing comes after what is deleted.
    follows = next_record(rules, log, view)
    if follows is not None or (
        rules.check_place and misplaced(rules, log, view) and place_matters(view)
    ):
        return "the topic is behind the view"
    if -1 < view.place < log.begin or (view.place == -1 and log.begin > 0):
        return "its gap is not known: what it might lack has been deleted"
    return ""


def place_matters(view: View) -> bool:
    """A view that has nothing lacks no record at its place."""
    return view.last != NOTHING
