"""What follows what is applied is applied, once; what does not follow is never passed over."""

from collections.abc import Mapping

import pytest
from eventsourcing.persistence import OperationalError
from eventsourcing.persistence import Tracking as LibraryTracking

from eventsourcing_kafka.consumer.engine.applying import Applied, Moved
from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, Span
from eventsourcing_kafka.consumer.engine.parking import BEHIND, Skip, permits
from eventsourcing_kafka.consumer.engine.store import PartitionsChangedError
from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking
from eventsourcing_kafka.consumer.hosting.local.store import LocalStore
from eventsourcing_kafka.consumer.operations.redrive import drop, retry
from eventsourcing_kafka.producer.wire.chain import Link, link_in
from tests.hosting.nursing import Patient

from .stores import Following

A, B, C, D = (Link(position, f"{position:016x}") for position in (3, 5, 8, 13))


def headers(record: ConsumedRecord, **changed: bytes) -> list[tuple[str, bytes]]:
    return [(name, changed.get(name, value)) for name, value in record.headers]


def put(following: Following, record: ConsumedRecord, **changed: bytes) -> None:
    """Append a copy of a record, with some headers changed."""
    following.put(record.key or b"", record.value or b"", headers(record, **changed))


async def apply(following: Following) -> Applied:
    outcome = await following.catch_up()
    assert isinstance(outcome, Applied)
    return outcome


async def test_the_tracking_names_the_record_that_is_applied_last(following: Following) -> None:
    following.teach(0, "sit")
    await apply(following)

    seen = (await following.seen())[0]
    assert seen.link == following.link(0, 1)
    assert (seen.record_offset, seen.offset) == (1, 2)


async def test_copies_of_the_last_record_and_of_older_ones_are_applied_once(
    following: Following,
) -> None:
    following.teach(0, "sit", "beg")
    await apply(following)
    before = (await following.seen())[0]
    for record in following.topic[0][::-1]:
        put(following, record)

    outcome = await apply(following)

    assert (outcome.events, outcome.already_seen, outcome.broken) == (0, 3, [])
    assert (await following.seen())[0] == before._replace(offset=6)
    following.teach(0, "roll")
    await apply(following)
    assert await following.counts() == {"beg": 1, "roll": 1, "sit": 1}


async def test_before_a_hole_all_is_applied_and_nothing_after_it(following: Following) -> None:
    following.teach(0, "sit", "beg", "roll")
    following.teach(1, "sit")
    following.relay()
    roll, _ = following.topic[0].pop(), following.topic[0].pop()
    put(following, roll)

    outcome = await apply(following)

    assert outcome.broken == [0]
    assert (await following.seen())[0].link == following.link(0, 1)
    assert await following.count("sit") == 2
    assert await following.count("roll") == 0
    assert (await apply(following)).broken == [0]
    assert await following.parked() == []


@pytest.mark.parametrize("at", [1, 2])
async def test_another_event_at_a_position_that_is_applied_is_no_duplicate(
    following: Following, at: int
) -> None:
    following.teach(0, "sit", "beg")
    await apply(following)
    put(following, following.topic[0][at], ce_identity=b"another1another1")

    outcome = await apply(following)

    # Below the last one nothing tells them apart.
    assert outcome.broken == ([0] if at == 2 else [])
    assert await following.counts() == {"beg": 1, "sit": 1}


async def test_of_two_records_that_follow_the_same_one_the_second_does_not(
    following: Following,
) -> None:
    following.teach(0, "sit", "beg")
    following.relay()
    fork = following.topic[0][2]
    put(following, fork, ce_position=b"99", ce_identity=b"another1another1")

    outcome = await apply(following)

    assert outcome.broken == [0]
    assert (await following.seen())[0].link == following.link(0, 2)
    assert await following.counts() == {"beg": 1, "sit": 1}


async def test_what_is_foreign_is_parked_and_the_tracking_stays_at_its_record(
    following: Following,
) -> None:
    following.teach(0, "sit")
    await apply(following)
    before = (await following.seen())[0]
    last = following.topic[0][-1]
    put(following, last, ce_source=b"/Elsewhere", ce_position=b"99")
    put(following, last, ce_position=b"99", ce_identity=b"?")

    outcome = await apply(following)

    assert (outcome.parked, outcome.broken) == (2, [])
    assert (await following.seen())[0] == before._replace(offset=4)
    assert [(each.topic, each.position) for each in await following.parked()] == [
        ("topic", None),
        ("topic", None),
    ]


async def test_what_can_not_be_decoded_is_parked_and_those_after_it_follow(
    following: Following,
) -> None:
    following.teach(0, "sit")
    following.teach(1, "sit")
    following.relay()
    last = following.topic[0].pop()
    following.put(last.key or b"", b"?", list(last.headers))

    outcome = await apply(following)

    (parked,) = await following.parked()
    assert parked.position == last.place.position
    assert outcome.broken == []
    following.teach(0, "beg")
    assert (await apply(following)).broken == []
    assert len(await following.parked()) == 2


async def test_what_was_dropped_is_known_by_its_position_in_a_topic_that_has_it_elsewhere(
    following: Following,
) -> None:
    if not following.store.capabilities.replayable:
        pytest.skip("It can't be made anew.")
    following.teach(0, "sit", "venom", "beg")
    following.relay()
    following.put(following.dog_id(1).encode(), b"?", [("ce_type", b"?")])
    await apply(following)
    for event in await following.parked():
        if event.reason != BEHIND:
            await drop(following.store, event.id, by="Ada", reason="no trick")
    assert await retry(following.store, following.dog_id(0)) == 1

    records, following.topic[0] = following.topic[0], []
    following.put(following.dog_id(0).encode(), b"?", [("ce_type", b"?")])
    for record in records:
        put(following, record)
    async with following.store.connected() as connection:
        await following.store.replay(connection)
    await apply(following)

    (foreign,) = await following.parked()
    assert (foreign.partition, foreign.record_offset, foreign.position) == (0, 0, None)
    assert await following.counts() == {"sit": 1, "beg": 1}


async def test_the_guard_tells_another_event_at_the_tracked_position(following: Following) -> None:
    following.teach(0, "sit")
    await apply(following)
    seen = await following.seen()
    following.teach(0, "beg")
    stale = {**seen, 0: seen[0]._replace(identity="another1another1")}

    following.relay()
    put(following, following.topic[0].pop(), ce_predecessor=stale[0].link.text.encode())
    outcome = await following.apply([Span(0, 2, 3, following.topic[0][2:])], stale)

    assert outcome == Moved()
    assert await following.counts() == {"sit": 1}


async def test_a_stop_is_kept_until_the_partition_goes_on(following: Following) -> None:
    following.teach(0, "sit")
    await apply(following)
    seen = (await following.seen())[0]
    async with following.store.connected() as connection:
        move = Move(seen, seen, stopped="Why.")
        assert await following.store.move(connection, move)
        assert not await following.store.move(
            connection, move._replace(seen=seen._replace(identity="another1another1"))
        )
        rows = await following.store.tracking.progress(connection)
    assert [row.stopped for row in rows] == ["Why.", None]
    following.teach(0, "beg")
    await apply(following)
    async with following.store.connected() as connection:
        rows = await following.store.tracking.progress(connection)
    assert [row.stopped for row in rows] == [None, None]


async def test_a_follower_that_ends_within_a_batch_knows_its_last_record_when_it_starts_again(
    following: Following,
) -> None:
    """Its library has recorded some of the events, each in a transaction of its own."""
    following.teach(0, "sit", "beg", "roll", "bow")

    def lost() -> None:
        raise OperationalError

    Patient.meanwhile.extend([lost, lambda: None, lambda: None])
    with pytest.raises(OperationalError):
        await following.catch_up()
    seen = (await restarted(following))[0]

    assert seen.link.text == "0" or seen.link == following.link(0, seen.record_offset)
    assert await following.counts() in ({}, {"beg": 1, "sit": 1})
    assert (seen.position > 0) == (await following.counts() != {})
    Patient.meanwhile.clear()
    assert (await apply(following)).broken == []
    assert await following.counts() == {"beg": 1, "bow": 1, "roll": 1, "sit": 1}


async def restarted(following: Following) -> Mapping[int, Tracking]:
    """Return what a new process reads; one whose memory is gone has lost all."""
    store = following.store
    if isinstance(store, LocalStore) and store.capabilities.reachable:
        following.store = LocalStore(store.view, store._host)
    return await following.seen()


async def test_of_a_follower_that_somebody_else_has_brought_on_the_last_record_is_not_known(
    following: Following,
) -> None:
    if not isinstance(following.store, LocalStore):
        pytest.skip("It is tracked where the tracking is.")
    following.teach(0, "sit", "beg")
    following.relay()
    last = following.link(0, 2)
    following.store._host.recorder.insert_tracking(LibraryTracking("DogSchool:0", last.position))

    assert (await following.seen())[0] == Tracking(0, last.position, 0)
    following.teach(0, "roll")
    assert (await apply(following)).broken == [0]
    assert await following.count("roll") == 0


async def test_only_the_count_of_partitions_that_is_tracked_is_followed(
    following: Following,
) -> None:
    async with following.store.working({}) as connection:
        with pytest.raises(PartitionsChangedError, match="has 3 partitions"):
            await following.store.run(following.store.prepare, connection, 3)


@pytest.mark.parametrize(
    ("seen", "to", "permitted"),
    [
        (A, C, True),
        (A, D, False),
        (A, B, True),
        (B, C, True),
        (C, C, True),
        (D, D, False),
        (A._replace(identity="another1another1"), C, False),
        (A, C._replace(identity="another1another1"), False),
        (link_in("0"), C, False),
        (C, B, False),
    ],
)
async def test_a_skip_is_a_permission_for_those_records_and_no_others(
    following: Following, seen: Link, to: Link, *, permitted: bool
) -> None:
    tracking = (await following.seen())[0]
    skip = Skip(tracking._replace(position=A.position, identity=A.identity), "topic", 7, C)
    async with following.store.connected() as connection:
        assert await following.store.move(connection, Move(tracking, skip.seen))
        await following.store.skip(connection, skip)
        dropped = await following.store.parking.dropped(connection)
    at = Tracking(0, seen.position, 7, seen.identity)
    assert permits(dropped, at, to) is permitted
    assert not permits(dropped, at._replace(partition=1), to)
