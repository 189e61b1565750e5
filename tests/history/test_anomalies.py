"""Each anomaly in a history written by hand, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.history.anomalies import Anomaly, Kind
from tests.history.checking import check
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
    Journal,
    Move,
    Outcome,
    Record,
    Sent,
    Stands,
    WriteBegun,
    WriteEnded,
)

TOPIC, VIEW = "events", "view"

ONE, TWO, THREE, FOUR = [
    Record(position, "a", position, f"at {position}", position - 1) for position in range(1, 5)
]
ALL = [ONE, TWO, THREE, FOUR]


def written(events: Sequence[Record], outcome: Outcome | None = Outcome.OK) -> list[AnyEntry]:
    begun = WriteBegun(
        call=events[0].position, events=[Record(0, *each.event) for each in events], at=0
    )
    if outcome is None:
        return [begun]
    positions = [each.position for each in events] if outcome is Outcome.OK else []
    return [
        begun,
        WriteEnded(call=events[0].position, outcome=outcome, positions=positions, at=0),
    ]


def published(
    records: Sequence[Record],
    outcome: Outcome | None = Outcome.OK,
    *,
    number: int = 1,
    commit: bool | None = True,
) -> list[AnyEntry]:
    """Return what a relay logs of one transaction; without `commit` it did not come to its end."""
    sent = [Record(each.position, *each.event) for each in records]
    log: list[AnyEntry] = [
        Sent(transaction=number, send=number, topic=TOPIC, partition=0, records=sent, at=0),
        Acknowledged(send=number, offset=records[0].offset, at=0),
    ]
    if commit is not None:
        log.append(Ending(transaction=number, commit=commit, at=0))
        if outcome:
            log.append(Ended(transaction=number, outcome=outcome, at=0))
    return log


def applied(
    start: int,
    records: Sequence[Record],
    outcome: Outcome | None = Outcome.OK,
    *,
    number: int = 1,
    end: int | None = None,
    at: float = 0,
) -> list[AnyEntry]:
    """Return what a consumer logs of one transaction."""
    end = records[-1].position if end is None else end
    begun = ApplyBegun(
        transaction=number, view=VIEW, moves=[Move(TOPIC, 0, start, end, list(records))], at=at
    )
    if outcome is None:
        return [begun]
    return [begun, ApplyEnded(transaction=number, outcome=outcome, at=at)]


def found(*records: Record, stands: int | None = None) -> list[AnyEntry]:
    stand = max(record.position for record in records) if stands is None else stands
    return [
        Found(topic=TOPIC, partition=0, records=list(records), at=0),
        Stands(view=VIEW, partition=0, position=stand, at=0),
    ]


def anomalies(
    *,
    writer: list[AnyEntry] | None = None,
    relay: list[AnyEntry] | None = None,
    consumer: list[AnyEntry] | None = None,
    operator: list[AnyEntry] | None = None,
    end: list[AnyEntry] | None = None,
) -> list[Anomaly]:
    """Check a history: what is not given is as it must be."""
    logs = {
        "writer": written(ALL) if writer is None else writer,
        "relay": published(ALL) if relay is None else relay,
        "consumer": applied(0, ALL) if consumer is None else consumer,
        "operator": operator or [],
        "end": found(*ALL) if end is None else end,
    }
    return check(History(logs)).anomalies


def kinds(found: Sequence[Anomaly]) -> set[tuple[Kind, int]]:
    return {(anomaly.kind, anomaly.position) for anomaly in found}


def test_nothing_is_wrong_with_a_history_that_is_right() -> None:
    assert anomalies() == []


def test_what_was_not_compared_is_said() -> None:
    assert check(History({})).missing == [
        "events written",
        "records sent",
        "records found",
        "records applied",
        "partitions of views",
    ]


# --- lost writes


def test_what_a_writer_committed_and_the_topic_does_not_have_is_lost() -> None:
    lost = anomalies(relay=published(ALL[:3]), consumer=applied(0, ALL[:3]), end=found(*ALL[:3]))
    assert kinds(lost) == {(Kind.LOST_WRITE, 4)}
    assert lost[0].evidence == ("writer committed it",)


def test_another_event_at_its_position_does_not_make_up_for_a_lost_one() -> None:
    other = Record(4, "a", 4, "at another time", 3)
    log = [*ALL[:3], other]
    writer = [*written(ALL), *written([other], Outcome.UNKNOWN)[:1]]
    lost = anomalies(writer=writer, relay=published(log), consumer=applied(0, log), end=found(*log))
    assert kinds(lost) == {(Kind.LOST_WRITE, 4)}
    assert "found there: position 4 (a:4, offset 3) in 0" in lost[0].evidence


def test_what_a_relay_committed_is_lost_even_if_no_writer_knows_that_it_wrote_it() -> None:
    lost = anomalies(writer=written(ALL, None), consumer=applied(0, ALL[:3]), end=found(*ALL[:3]))
    assert kinds(lost) == {(Kind.LOST_WRITE, 4)}


def test_a_version_that_nobody_is_sure_of_is_lost_if_the_next_one_is_there() -> None:
    log = [ONE, TWO, FOUR]
    lost = anomalies(
        writer=written(ALL, None),
        relay=published(log, None),
        consumer=applied(0, log),
        end=found(*log),
    )
    assert kinds(lost) == {(Kind.LOST_WRITE, 4)}


def test_what_nobody_is_sure_of_may_be_missing() -> None:
    log = ALL[:3]
    assert not anomalies(
        writer=[*written(log), *written([FOUR], None)],
        relay=published(log),
        consumer=applied(0, log),
        end=found(*log),
    )


def test_what_a_view_has_not_come_to_is_lost() -> None:
    lost = anomalies(consumer=applied(0, ALL[:2]), end=found(*ALL, stands=2))
    assert kinds(lost) == {(Kind.LOST_WRITE, 3), (Kind.LOST_WRITE, 4)}


def test_what_a_view_had_committed_and_has_no_more_is_lost() -> None:
    consumer = [*applied(0, ALL[:2]), *applied(2, ALL[2:], number=2)]
    lost = anomalies(consumer=consumer, end=found(*ALL, stands=2))
    assert (Kind.LOST_WRITE, 2) in kinds(lost)
    assert {anomaly.kind for anomaly in lost} == {Kind.LOST_WRITE}


# --- aborted reads


@pytest.mark.parametrize(
    "relay",
    [
        published(ALL, commit=False),
        published(ALL, commit=None),
        published(ALL, Outcome.FAILED),
    ],
    ids=["aborted", "never ended", "refused"],
)
def test_a_record_of_a_transaction_that_was_not_committed_is_an_aborted_read(
    relay: list[AnyEntry],
) -> None:
    read = anomalies(relay=relay)
    assert kinds(read) == {(Kind.ABORTED_READ, record.position) for record in ALL}


def test_the_half_of_a_transaction_that_a_late_end_has_committed_is_an_aborted_read() -> None:
    relay = [*published([ONE, TWO]), *published([THREE], commit=None, number=2)]
    relay += published([FOUR], number=3)
    assert kinds(anomalies(relay=relay)) == {(Kind.ABORTED_READ, 3)}


def test_a_transaction_that_was_aborted_and_published_again_is_none() -> None:
    first = [Record(each.position, *each.event, each.offset) for each in ALL]
    again = [Record(each.position, *each.event, each.offset + 5) for each in ALL]
    relay = [*published(first, commit=None), *published(again, number=2)]
    assert not anomalies(relay=relay, consumer=applied(0, again), end=found(*again))


def test_a_record_at_the_offset_of_the_aborted_one_is_an_aborted_read() -> None:
    again = [Record(each.position, *each.event, each.offset + 5) for each in ALL]
    relay = [*published(ALL, commit=None), *published(again, None, number=2)]
    read = anomalies(relay=relay)
    assert {anomaly.kind for anomaly in read} == {Kind.ABORTED_READ}


def test_what_its_writer_rolled_back_is_an_aborted_read() -> None:
    writer = [*written(ALL[:3]), *written([FOUR], Outcome.FAILED)]
    assert kinds(anomalies(writer=writer)) == {(Kind.ABORTED_READ, 4)}


def test_a_commit_that_was_not_answered_may_have_happened() -> None:
    assert not anomalies(relay=published(ALL, None))
    assert not anomalies(relay=published(ALL, Outcome.UNKNOWN))


# --- records that nobody wrote


def test_a_record_that_no_writer_wrote_is_named() -> None:
    writer = written(ALL[:3])
    assert kinds(anomalies(writer=writer)) == {(Kind.UNWRITTEN, 4)}


def test_a_record_that_no_relay_sent_is_named() -> None:
    assert kinds(anomalies(relay=published(ALL[:3]))) == {(Kind.UNWRITTEN, 4)}


# --- duplicates


def test_a_position_that_is_twice_in_the_topic_is_a_duplicate() -> None:
    again = Record(4, *FOUR.event, 9)
    relay = [*published(ALL), *published([again], number=2)]
    assert kinds(anomalies(relay=relay, end=found(*ALL, again))) == {(Kind.DUPLICATE, 4)}


def test_what_two_transactions_of_a_view_have_applied_is_a_duplicate() -> None:
    consumer = [
        *applied(0, ALL[:2]),
        *applied(2, ALL[2:], number=2),
        *applied(2, ALL[2:], number=3, at=1),
    ]
    assert kinds(anomalies(consumer=consumer)) == {(Kind.DUPLICATE, 3), (Kind.DUPLICATE, 4)}


def test_a_view_that_began_again_by_itself_has_duplicates() -> None:
    consumer = [*applied(0, ALL), *applied(0, ALL, number=2, at=1)]
    doubled = kinds(anomalies(consumer=consumer))
    assert doubled == {(Kind.DUPLICATE, record.position) for record in ALL}


def test_what_a_transaction_applies_behind_its_own_tracking_is_a_duplicate() -> None:
    consumer = [*applied(0, ALL[:2]), *applied(2, ALL[1:], number=2)]
    assert kinds(anomalies(consumer=consumer)) == {(Kind.DUPLICATE, 2)}


@pytest.mark.parametrize("what", [Change.REPLAY, Change.REBUILD])
def test_an_operator_may_have_a_view_begin_again(what: Change) -> None:
    consumer = [*applied(0, ALL), *applied(0, ALL, number=2, at=1)]
    operator: list[AnyEntry] = [Changed(what=what, view=VIEW)]
    assert not anomalies(consumer=consumer, operator=operator)


def test_a_replay_of_another_partition_permits_nothing() -> None:
    consumer = [*applied(0, ALL), *applied(0, ALL, number=2, at=1)]
    operator: list[AnyEntry] = [Changed(what=Change.REPLAY, view=VIEW, partitions=[1])]
    assert anomalies(consumer=consumer, operator=operator)


def test_a_generation_that_is_taken_up_again_goes_on_where_it_was() -> None:
    consumer = [
        *applied(0, ALL[:2]),
        *applied(0, ALL[:3], number=2, at=1),  # the rebuilt one
        *applied(2, ALL[2:], number=3, at=2),  # and the kept one
    ]
    operator: list[AnyEntry] = [Changed(what=Change.REBUILD, view=VIEW)]
    assert not anomalies(consumer=consumer, operator=operator)


def test_a_crash_of_the_database_permits_to_apply_again_what_it_took() -> None:
    consumer = [
        *applied(0, ALL[:2]),
        *applied(2, ALL[2:], number=2, at=9),
        *applied(2, ALL[2:], number=3, at=11),
    ]
    crash: list[AnyEntry] = [Changed(what=Change.DATABASE_CRASH, at=10)]
    assert not anomalies(consumer=consumer, operator=crash)
    much_later: list[AnyEntry] = [Changed(what=Change.DATABASE_CRASH, at=100)]
    assert anomalies(consumer=consumer, operator=much_later)


# --- reorderings


def test_a_record_behind_a_later_one_is_a_reordering() -> None:
    log = [ONE, Record(3, *THREE.event, 1), Record(2, *TWO.event, 2), FOUR]
    relay = [
        *published([log[0]]),
        *published([log[1]], number=2),
        *published([log[2]], number=3),
        *published([log[3]], number=4),
    ]
    consumer = applied(0, sorted(log, key=lambda record: record.position))
    wrong = anomalies(relay=relay, consumer=consumer, end=found(*log))
    assert kinds(wrong) == {(Kind.REORDERING, 2)}


def test_what_a_view_applied_in_another_order_is_a_reordering() -> None:
    consumer = applied(0, [ONE, THREE, TWO, FOUR])
    assert kinds(anomalies(consumer=consumer)) == {(Kind.REORDERING, 2)}


def test_an_aggregate_in_two_partitions_has_no_order() -> None:
    elsewhere: list[AnyEntry] = [
        Found(topic=TOPIC, partition=1, records=[FOUR], at=0),
        Stands(view=VIEW, partition=1, position=4, at=0),
    ]
    relay = [
        *published(ALL[:3]),
        Sent(transaction=1, send=2, topic=TOPIC, partition=1, records=[FOUR], at=0),
    ]
    consumer = [
        *applied(0, ALL[:3]),
        ApplyBegun(transaction=2, view=VIEW, moves=[Move(TOPIC, 1, 0, 4, [FOUR])], at=0),
        ApplyEnded(transaction=2, outcome=Outcome.OK, at=0),
    ]
    wrong = anomalies(relay=relay, consumer=consumer, end=[*found(*ALL[:3]), *elsewhere])
    assert (Kind.REORDERING, 4) in kinds(wrong)


# --- skipped positions


def test_what_a_transaction_moves_past_without_applying_it_is_skipped() -> None:
    assert kinds(anomalies(consumer=applied(0, [ONE, TWO, FOUR]))) == {(Kind.SKIPPED_POSITION, 3)}


def test_what_lies_between_two_transactions_is_skipped() -> None:
    consumer = [*applied(0, [ONE, TWO]), *applied(3, [FOUR], number=2, at=1)]
    assert kinds(anomalies(consumer=consumer)) == {(Kind.SKIPPED_POSITION, 3)}


def test_a_view_that_stands_where_nobody_moved_it_has_skipped() -> None:
    skipped = anomalies(consumer=applied(0, ALL[:2]))
    assert kinds(skipped) == {(Kind.SKIPPED_POSITION, 3), (Kind.SKIPPED_POSITION, 4)}


def test_a_transaction_without_a_known_outcome_fills_what_lies_between() -> None:
    consumer = [
        *applied(0, [ONE]),
        *applied(1, [TWO], None, number=2),
        *applied(2, [THREE], Outcome.UNKNOWN, number=3),
        *applied(3, [FOUR], number=4, at=1),
    ]
    assert not anomalies(consumer=consumer)


def test_a_transaction_that_failed_fills_nothing() -> None:
    consumer = [
        *applied(0, [ONE, TWO]),
        *applied(2, [THREE], Outcome.FAILED, number=2),
        *applied(3, [FOUR], number=3, at=1),
    ]
    assert kinds(anomalies(consumer=consumer)) == {(Kind.SKIPPED_POSITION, 3)}


# --- reads of uncommitted records


def test_what_a_view_applied_and_the_topic_does_not_have_is_an_uncommitted_read() -> None:
    aborted = Record(4, "a", 4, "at another time", 3)
    writer = [*written(ALL), *written([aborted], None)]
    read = anomalies(writer=writer, consumer=applied(0, [*ALL[:3], aborted]))
    assert kinds(read) == {(Kind.UNCOMMITTED_READ, 4)}


def test_what_a_view_applied_from_an_offset_that_was_aborted_is_an_uncommitted_read() -> None:
    early = [Record(each.position, *each.event, each.offset) for each in ALL]
    late = [Record(each.position, *each.event, each.offset + 5) for each in ALL]
    relay = [*published(early, commit=None), *published(late, number=2)]
    read = anomalies(relay=relay, consumer=applied(0, early), end=found(*late))
    assert {anomaly.kind for anomaly in read} == {Kind.UNCOMMITTED_READ}

    moved: list[AnyEntry] = [Changed(what=Change.TOPIC_CHANGE)]
    assert not anomalies(relay=relay, consumer=applied(0, early), end=found(*late), operator=moved)


def left(*records: Record) -> list[AnyEntry]:
    """Return what is found in a topic that was left for another one, and where the view stands."""
    partial = Found(topic=TOPIC, partition=0, records=list(records), complete=False, at=0)
    return [partial, Stands(view=VIEW, partition=0, position=4, at=0)]


@pytest.mark.parametrize("topic", [TOPIC, None], ids=["that topic", "all topics"])
def test_what_a_view_applied_before_its_topic_was_made_anew_and_left_was_committed(
    topic: str | None,
) -> None:
    changed: list[AnyEntry] = [Changed(what=Change.TOPIC_CHANGE, topic=topic)]
    unknown = published(ALL, Outcome.UNKNOWN)
    for relay in (published(ALL), unknown):
        assert not anomalies(relay=relay, operator=changed, end=left(*ALL[:2]))


def test_what_no_relay_had_asked_to_be_committed_by_then_is_an_uncommitted_read_all_the_same() -> (
    None
):
    changed: list[AnyEntry] = [Changed(what=Change.TOPIC_CHANGE, topic=TOPIC)]
    other: list[AnyEntry] = [Changed(what=Change.TOPIC_CHANGE, topic="another")]
    aborted = [*published(ALL[:2]), *published(ALL[2:], number=2, commit=False)]
    given_up = [*published(ALL[:2]), *published(ALL[2:], number=2, commit=None)]
    uncommitted = {(Kind.UNCOMMITTED_READ, 3), (Kind.UNCOMMITTED_READ, 4)}
    for relay, operator in [(aborted, changed), (given_up, changed), (published(ALL), other)]:
        read = anomalies(relay=relay, operator=operator, end=left(*ALL[:2]))
        assert kinds(read) == uncommitted
    early = applied(0, ALL, at=-1)
    assert kinds(anomalies(consumer=early, operator=changed, end=left(*ALL[:2]))) == uncommitted


# --- logs


def test_a_log_is_read_as_it_was_written_and_a_line_that_was_cut_off_is_not(
    tmp_path: Path,
) -> None:
    journal = Journal.of_this_process(tmp_path, "relay")
    entries = published(ALL)
    for entry in entries:
        journal.write(entry)
    journal.close()
    (log,) = tmp_path.iterdir()
    with log.open("ab") as file:
        file.write(b'{"type":"Ended","transac')

    assert History.read(tmp_path).logs == {log.stem: entries}


def test_the_checker_knows_nothing_of_the_product() -> None:
    for module in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not [name for name in names if name.startswith("eventsourcing_kafka")], module


def test_what_was_deleted_from_the_beginning_is_compared_as_it_was_found_before() -> None:
    before = Found(topic=TOPIC, partition=0, records=list(ALL[:2]), complete=False, at=-1)
    late = found(*ALL[2:])
    assert anomalies(end=late)
    assert not anomalies(end=[before, *late])
    skipping = [*applied(0, [ONE], end=2), *applied(2, ALL[2:], number=2)]
    assert kinds(anomalies(consumer=skipping, end=[before, *late])) == {(Kind.SKIPPED_POSITION, 2)}
