"""Histories of a small pipeline: what it does right is never flagged, what is changed is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.history.anomalies import Kind
from tests.history.checking import check
from tests.history.entries import (
    AnyEntry,
    ApplyBegun,
    ApplyEnded,
    Ended,
    Ending,
    Entry,
    Found,
    History,
    Move,
    Outcome,
    Record,
    Stands,
    WriteEnded,
)
from tests.history.simulation import AGGREGATES, PARTITIONS, Fate, Simulation, Told

E = TypeVar("E", bound=Entry)

Step = Callable[[Simulation], None]

MOST = st.integers(1, 5)
NUMBERS = st.lists(st.integers(0, PARTITIONS - 1), min_size=1, max_size=PARTITIONS, unique=True)
TOLD = st.sampled_from(Told)

WRITES: st.SearchStrategy[Step] = st.builds(
    lambda aggregates, told, committed: lambda it: it.write(aggregates, told, committed=committed),
    st.lists(st.integers(0, AGGREGATES - 1), min_size=1, max_size=3, unique=True),
    TOLD,
    st.booleans(),
)
PUBLISHES: st.SearchStrategy[Step] = st.builds(
    lambda most, fate, told, acknowledged: (
        lambda it: it.publish(most, fate, told, acknowledged=acknowledged)
    ),
    MOST,
    st.sampled_from(Fate),
    TOLD,
    st.booleans(),
)
APPLIES: st.SearchStrategy[Step] = st.builds(
    lambda most, partitions, told, committed: (
        lambda it: it.apply(most, partitions, told, committed=committed)
    ),
    MOST,
    NUMBERS,
    TOLD,
    st.booleans(),
)
OPERATIONS: st.SearchStrategy[Step] = st.one_of(
    st.builds(lambda partitions: lambda it: it.replay(partitions), NUMBERS),
    st.builds(
        lambda most, swapped, keep: lambda it: it.rebuild(most, swapped=swapped, keep=keep),
        MOST,
        st.booleans(),
        st.booleans(),
    ),
    st.just(Simulation.swap_back),
    st.builds(lambda loses: lambda it: it.crash_database(loses=loses), st.booleans()),
    st.just(Simulation.checkpoint),
    st.just(Simulation.make_topic_anew),
)
CERTAIN: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        lambda aggregates: lambda it: it.write(aggregates, Told.ALL),
        st.lists(st.integers(0, AGGREGATES - 1), min_size=1, max_size=3, unique=True),
    ),
    st.builds(lambda most: lambda it: it.publish(most, Fate.COMMITTED, Told.ALL), MOST),
    st.builds(
        lambda most, partitions: lambda it: it.apply(most, partitions, Told.ALL), MOST, NUMBERS
    ),
)


def acted(steps: list[Step]) -> History:
    simulation = Simulation()
    for step in steps:
        step(simulation)
    return simulation.settled()


EVERYTHING = st.lists(WRITES | PUBLISHES | APPLIES | OPERATIONS, max_size=40).map(acted)
NOTHING_UNKNOWN = st.lists(CERTAIN, min_size=3, max_size=25).map(acted)
"""Without crashes and replays: where each change of the history makes a difference."""


@settings(max_examples=300, deadline=None)
@given(EVERYTHING)
def test_nothing_is_found_in_what_was_done_right(history: History) -> None:
    assert check(history).anomalies == []


@settings(max_examples=100, deadline=None)
@given(EVERYTHING, st.data())
def test_whatever_happened_a_record_that_is_dropped_from_the_topic_is_lost(
    history: History, data: st.DataObject
) -> None:
    found = chosen(history, Found, data, lambda entry: bool(entry.records))
    if not found:
        return
    place = data.draw(st.integers(0, len(found.records) - 1))
    without = [record for at, record in enumerate(found.records) if at != place]
    kinds = kinds_in(changed(history, found, msgspec.structs.replace(found, records=without)))
    assert kinds & {Kind.LOST_WRITE, Kind.UNCOMMITTED_READ}


@settings(max_examples=100, deadline=None)
@given(EVERYTHING, st.data())
def test_whatever_happened_a_record_that_is_twice_in_the_topic_is_a_duplicate(
    history: History, data: st.DataObject
) -> None:
    found = chosen(history, Found, data, lambda entry: bool(entry.records))
    if not found:
        return
    record = data.draw(st.sampled_from(found.records))
    again = msgspec.structs.replace(record, offset=found.records[-1].offset + 1)
    doubled = msgspec.structs.replace(found, records=[*found.records, again])
    assert Kind.DUPLICATE in kinds_in(changed(history, found, doubled))


@settings(max_examples=100, deadline=None)
@given(EVERYTHING, st.data())
def test_whatever_happened_two_records_that_change_places_are_a_reordering(
    history: History, data: st.DataObject
) -> None:
    found = chosen(history, Found, data, lambda entry: len(entry.records) > 1)
    if not found:
        return
    first = data.draw(st.integers(0, len(found.records) - 2))
    records = list(found.records)
    one, other = records[first : first + 2]
    records[first : first + 2] = [
        msgspec.structs.replace(other, offset=one.offset),
        msgspec.structs.replace(one, offset=other.offset),
    ]
    swapped = msgspec.structs.replace(found, records=records)
    assert Kind.REORDERING in kinds_in(changed(history, found, swapped))


@settings(max_examples=100, deadline=None)
@given(EVERYTHING, st.data())
def test_whatever_happened_what_a_view_leaves_out_is_skipped(
    history: History, data: st.DataObject
) -> None:
    begun = chosen(history, ApplyBegun, data, lambda entry: bool(entry.moves))
    if not begun or not is_known(history, begun):
        return
    kinds = kinds_in(changed(history, begun, with_records(begun, lambda records: records[1:])))
    assert Kind.SKIPPED_POSITION in kinds


@settings(max_examples=100, deadline=None)
@given(EVERYTHING, st.data())
def test_whatever_happened_what_a_view_applies_twice_at_once_is_a_duplicate(
    history: History, data: st.DataObject
) -> None:
    begun = chosen(history, ApplyBegun, data, lambda entry: bool(entry.moves))
    if not begun or not is_known(history, begun):
        return
    twice = with_records(begun, lambda records: [*records, records[-1]])
    assert Kind.DUPLICATE in kinds_in(changed(history, begun, twice))


@settings(max_examples=100, deadline=None)
@given(EVERYTHING, st.data())
def test_whatever_happened_what_a_view_applies_of_another_event_is_an_uncommitted_read(
    history: History, data: st.DataObject
) -> None:
    begun = chosen(history, ApplyBegun, data, lambda entry: bool(entry.moves))
    if not begun or not is_known(history, begun):
        return

    def other(records: list[Record]) -> list[Record]:
        return [msgspec.structs.replace(records[0], mark="at another time"), *records[1:]]

    kinds = kinds_in(changed(history, begun, with_records(begun, other)))
    assert Kind.UNCOMMITTED_READ in kinds


@settings(max_examples=100, deadline=None)
@given(NOTHING_UNKNOWN, st.data())
def test_a_commit_that_turns_out_to_be_an_abort_is_an_aborted_read(
    history: History, data: st.DataObject
) -> None:
    ending = chosen(history, Ending, data)
    if ending:
        aborted = msgspec.structs.replace(ending, commit=False)
        assert kinds_in(changed(history, ending, aborted)) == {Kind.ABORTED_READ}


@settings(max_examples=100, deadline=None)
@given(NOTHING_UNKNOWN, st.data())
def test_a_write_that_turns_out_to_be_rolled_back_is_an_aborted_read(
    history: History, data: st.DataObject
) -> None:
    ended = chosen(history, WriteEnded, data)
    if ended:
        failed = msgspec.structs.replace(ended, outcome=Outcome.FAILED, positions=[])
        assert kinds_in(changed(history, ended, failed)) == {Kind.ABORTED_READ}


@settings(max_examples=100, deadline=None)
@given(NOTHING_UNKNOWN, st.data())
def test_a_view_transaction_that_turns_out_to_have_failed_has_skipped_what_it_held(
    history: History, data: st.DataObject
) -> None:
    ended = chosen(history, ApplyEnded, data)
    if ended and moves_of(history, ended):
        failed = msgspec.structs.replace(ended, outcome=Outcome.FAILED)
        assert Kind.SKIPPED_POSITION in kinds_in(changed(history, ended, failed))


@settings(max_examples=100, deadline=None)
@given(NOTHING_UNKNOWN, st.data())
def test_a_view_transaction_that_happens_twice_is_a_duplicate(
    history: History, data: st.DataObject
) -> None:
    ended = chosen(history, ApplyEnded, data)
    moves = ended and moves_of(history, ended)
    if ended and moves:
        again: list[AnyEntry] = [
            ApplyBegun(transaction=-1, view="view", moves=moves, at=ended.at + 1),
            ApplyEnded(transaction=-1, outcome=Outcome.OK, at=ended.at + 2),
        ]
        assert Kind.DUPLICATE in kinds_in(History({**history.logs, "zombie": again}))


@settings(max_examples=100, deadline=None)
@given(NOTHING_UNKNOWN, st.data())
def test_an_end_that_is_not_told_changes_nothing(history: History, data: st.DataObject) -> None:
    ends = (ApplyEnded, WriteEnded, Ended)
    told = [entry for log in history.logs.values() for entry in log if isinstance(entry, ends)]
    if told:
        untold = data.draw(st.sets(st.sampled_from(range(len(told))), min_size=1))
        gone = {id(told[place]) for place in untold}
        logs = {
            name: [entry for entry in log if id(entry) not in gone]
            for name, log in history.logs.items()
        }
        assert check(History(logs)).anomalies == []


@pytest.mark.parametrize("position", [0, 1])
def test_a_view_that_is_not_at_the_end_has_lost_something(position: int) -> None:
    simulation = Simulation()
    for _ in range(2):
        simulation.write([0, 1], Told.ALL)
        simulation.publish(2, Fate.COMMITTED, Told.ALL)
        simulation.apply(1, [0], Told.ALL)
    history = simulation.settled()
    stands = next(entry for _, entry in history.of(Stands) if entry.partition == 0)
    behind = msgspec.structs.replace(stands, position=position)
    assert kinds_in(changed(history, stands, behind)) == {Kind.LOST_WRITE}


def chosen(
    history: History,
    kind: type[E],
    data: st.DataObject,
    fits: Callable[[E], bool] = lambda _: True,
) -> E | None:
    """Draw one of the entries of a kind that fit; None if there is none."""
    fitting = [entry for _, entry in history.of(kind) if fits(entry)]
    return data.draw(st.sampled_from(fitting)) if fitting else None


def changed(history: History, old: AnyEntry, new: AnyEntry) -> History:
    """Return a history with another entry in the place of one."""
    return History(
        {
            name: [new if entry is old else entry for entry in log]
            for name, log in history.logs.items()
        }
    )


def with_records(begun: ApplyBegun, change: Callable[[list[Record]], list[Record]]) -> ApplyBegun:
    """Return a view transaction whose first move has other records."""
    first, *rest = begun.moves
    other: list[Move] = [msgspec.structs.replace(first, records=change(first.records)), *rest]
    return msgspec.structs.replace(begun, moves=other)


def is_known(history: History, begun: ApplyBegun) -> bool:
    """Tell whether a view transaction was committed, and its consumer was told so."""
    return any(
        ended.transaction == begun.transaction and ended.outcome is Outcome.OK
        for _, ended in history.of(ApplyEnded)
    )


def moves_of(history: History, ended: ApplyEnded) -> list[Move]:
    """Return what a view transaction has moved."""
    return next(
        begun.moves for _, begun in history.of(ApplyBegun) if begun.transaction == ended.transaction
    )


def kinds_in(history: History) -> set[Kind]:
    """Check a history, and return what kinds of anomalies there are."""
    return {anomaly.kind for anomaly in check(history).anomalies}
