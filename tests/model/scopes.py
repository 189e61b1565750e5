"""The scopes that are explored: a quick set for the tests, a deep one for `make model`.

An aged-out partition counts as a loss, and is not combined with another one: a retention shorter
than a repair may delete an aborted record before it is seen to be aborted, and nothing tells it
then from a published one.
"""

from itertools import product
from typing import NamedTuple

from .chain import (
    DEAD_END,
    DOUBLED_IN_TOPIC,
    DOUBLED_IN_VIEW,
    LOST_IN_TOPIC,
    NEEDLESS,
    WRONG_VIEW,
    Scope,
)
from .rules import Rules

ONE: tuple[tuple[int, ...], ...] = ((0,),)
TWO = ((0, 0), (0, 1))
THREE = ((0, 1, 0), (0, 0, 1))
FOUR = ((0, 0, 0, 0), (0, 1, 0, 0))

REQUESTS = ("lost", "crash", "time-out")
TAILS = ("tail", "anew", "all anew")
SINGLE = frozenset(
    (*REQUESTS, *TAILS, "aged", "restored", "foreign", "consumer too many", "crash of a follower")
)
DOUBLE = frozenset((*REQUESTS, *TAILS, "restored", "foreign"))


def scope(
    patterns: tuple[tuple[int, ...], ...],
    faults: frozenset[str] | str,
    most: int = 1,
    losses: int = 1,
    *,
    first: bool = True,
    at_once: bool = True,
    watched: int = 0,
    silence_only: bool = False,
    readable: bool = False,
) -> Scope:
    """A scope, named for what is in it; faults that are a string are separated by commas."""
    names = frozenset(faults.split(", ")) if isinstance(faults, str) else faults
    told = {SINGLE: "any fault", DOUBLE: "most faults"}.get(names, ", ".join(sorted(names)))
    marks = [
        f"{len(patterns[0])} events",
        f"{most} of: {told}",
        *([f"{losses} losses"] if losses > 1 else []),
        *([] if first else ["R last"]),
        *([] if at_once else ["partitions added one by one"]),
        *([f"partition {watched} watched"] if watched else []),
        *(["nobody silent"] if silence_only else []),
        *(["nobody stops for what is deleted"] if readable else []),
    ]
    return Scope(
        name="; ".join(marks),
        patterns=patterns,
        faults=names,
        most=most,
        losses=losses,
        first=first,
        at_once=at_once,
        watched=watched,
        silence_only=silence_only,
        readable=readable,
    )


QUICK = [
    scope(THREE, SINGLE, readable=True),
    scope(TWO, SINGLE, first=False, at_once=False, readable=True),
    scope(TWO[1:], "second"),
    scope(ONE, DOUBLE, 2),
    scope(ONE, DOUBLE, 2, 2, silence_only=True),
    scope(TWO[:1], "foreign, operator", 2),
    scope((THREE[0],), "aged, operator", 2, readable=True),
    scope((THREE[0],), "aged, foreign", 2, readable=True),
]

DEEP = [
    scope(TWO, "second"),
    *(
        scope(
            tuple((0, *rest) for rest in product((0, 1), repeat=3)),
            SINGLE,
            first=plain,
            at_once=plain,
            watched=watched,
        )
        for plain, watched in product((True, False), (0, 1))
    ),
    scope(TWO, DOUBLE, 2),
    scope(TWO, DOUBLE, 2, first=False, at_once=False),
    scope(TWO, DOUBLE, 2, 2, silence_only=True),
    scope(THREE, "second"),
    scope(TWO, "second, lost, time-out", 2),
    scope(TWO, "second, tail, foreign", 2),
    scope(((0, 0, 0),), "tail, anew, all anew, foreign", 2),
    scope(((0, 0, 0),), "aged, lost, crash, time-out, foreign", 2),
    scope(((0, 0, 0),), "aged, foreign, operator", 3),
    scope(THREE, "aged, consumer too many, crash", 3, 2, readable=True),
    scope(THREE, "aged, restored", 2),
    scope(TWO, "all anew, restored, operator", 3),
]


class Without(NamedTuple):
    """What goes wrong without some rules, in a scope that shows it."""

    rules: tuple[str, ...]
    scope: Scope
    kind: str


def without(rules: str, kind: str, scope: Scope) -> Without:
    """Rules, separated by commas, and what goes wrong without them."""
    return Without(tuple(rules.split(", ")), scope, kind)


SEPARATE = [
    without("guard", DOUBLED_IN_VIEW, scope(TWO, "consumer too many")),
    without("predecessor", WRONG_VIEW, scope(TWO[:1], "aged", silence_only=True)),
    without("identity", LOST_IN_TOPIC, scope(TWO, "restored")),
    without("epoch", NEEDLESS, scope(TWO[:1], "lost, tail", 2)),
    without("produce", NEEDLESS, scope(TWO[:1], "lost, all anew", 2)),
    without("end_open", DOUBLED_IN_TOPIC, scope(TWO, "tail")),
    without("read_tails", NEEDLESS, scope(THREE[:1], "tail")),
    without("highest", DOUBLED_IN_TOPIC, scope(TWO[:1], "foreign, crash", 2)),
    without("aged_out", DOUBLED_IN_TOPIC, scope(ONE, "aged, crash", 2)),
    without("write_model", LOST_IN_TOPIC, scope(TWO, "restored")),
    without("per_partition", LOST_IN_TOPIC, scope(TWO, "tail")),
    without("acknowledged", NEEDLESS, scope(TWO, "tail")),
    without("watch", LOST_IN_TOPIC, scope(TWO, "tail")),
    without("watch_record", LOST_IN_TOPIC, scope(TWO[1:], "tail, foreign", 2)),
    without("other_instance", LOST_IN_TOPIC, scope(TWO, "time-out")),
    without("foreign", NEEDLESS, scope(TWO, "foreign")),
    without("first_found", WRONG_VIEW, scope(TWO[:1], "foreign, all anew", 2)),
    without("stop_where_found", DEAD_END, scope(TWO[:1], "foreign")),
    without("check_place", WRONG_VIEW, scope(((0, 0, 0, 0),), "all anew")),
    without("before_successor", NEEDLESS, scope(((0, 0, 0, 0),), "aged, all anew", 2, 2)),
    without("outbox", NEEDLESS, scope(TWO[:1], "aged", readable=True)),
    without("recorded_skip, outbox", WRONG_VIEW, scope(((0, 0, 0),), "aged, operator", 2)),
    without("note_first", WRONG_VIEW, scope(ONE, "all anew, restored, crash of a follower", 3)),
]

NO_CHAIN = Rules().without(
    "end_open", "read_tails", "write_model", "per_partition", "acknowledged", "watch"
)
"""A relay that believes the last R."""

TORN = scope(((0, 0, 1, 0),), "lost")
"""A lost EndTxn, which is sent again and comes late: in the midst of the next transaction."""
