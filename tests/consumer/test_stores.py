"""What holds wherever a view is kept: in Postgres, or hosted on Postgres, on SQLite, in memory."""

from collections.abc import Callable

import pytest
from eventsourcing.persistence import IntegrityError, OperationalError

from eventsourcing_kafka.consumer.engine.applying import (
    ATTEMPTS,
    Applied,
    CannotApplyError,
    Moved,
    OnError,
)
from eventsourcing_kafka.consumer.engine.parking import BEHIND, Skip
from eventsourcing_kafka.consumer.engine.store import NotReplayableError
from eventsourcing_kafka.consumer.hosting.local.parking import MemoryParking
from eventsourcing_kafka.consumer.operations.redrive import (
    NotFirstError,
    NotParkedError,
    StillFailingError,
    drop,
    dropped_events,
    retry,
)
from tests.hosting.nursing import MENDED, CannotTakeError, Patient

from .stores import Following


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Mends the code that can't take poison."""

    def mend() -> None:
        for name, value in MENDED.items():
            monkeypatch.setenv(name, value)

    return mend


async def test_what_is_applied_is_counted_and_tracked(following: Following) -> None:
    following.teach(0, "sit", "beg")
    following.teach(1, "sit")

    outcome = await following.catch_up()

    seen = await following.seen()
    assert isinstance(outcome, Applied)
    assert (outcome.events, outcome.already_seen, outcome.parked) == (5, 0, 0)
    assert list(outcome.trackings) == list(seen.values())
    assert [tracking.offset for tracking in seen.values()] == [3, 2]
    assert await following.counts() == {"beg": 1, "sit": 2}
    following.teach(1, "beg")
    await following.catch_up()
    assert await following.counts() == {"beg": 2, "sit": 2}


async def test_what_comes_again_is_already_seen(following: Following) -> None:
    following.teach(0, "sit", "beg")
    await following.catch_up()
    seen = await following.seen()
    following.teach(0, "roll")

    outcome = await following.apply(following.batch(seen, again=True), seen)

    assert isinstance(outcome, Applied)
    assert (outcome.events, outcome.already_seen) == (1, 4)
    assert await following.counts() == {"beg": 1, "roll": 1, "sit": 1}


async def test_a_batch_that_another_has_applied_changes_nothing(following: Following) -> None:
    following.teach(0, "sit")
    stale = await following.seen()
    batch = following.batch(stale)
    assert isinstance(await following.apply(batch, stale), Applied)
    seen = await following.seen()

    assert await following.apply(batch, stale) == Moved()

    assert await following.seen() == seen
    assert await following.counts() == {"sit": 1}
    following.teach(0, "beg")
    await following.catch_up()
    assert await following.counts() == {"beg": 1, "sit": 1}


async def test_what_fails_is_parked_with_its_aggregate_behind_it_and_all_others_go_on(
    following: Following,
) -> None:
    following.teach(0, "sit", "poison", "beg")
    following.teach(1, "sit")

    outcome = await following.catch_up()

    first, behind = await following.parked()
    assert isinstance(outcome, Applied)
    assert (outcome.events, outcome.parked) == (4, 2)
    assert first.reason == "CannotTakeError: poison"
    assert "Traceback" in first.traceback
    assert behind.reason == BEHIND
    assert {first.originator_id, behind.originator_id} == {following.dog_id(0)}
    assert await following.counts() == {"sit": 2}
    following.teach(0, "roll")
    following.teach(1, "roll")
    await following.catch_up()
    assert [event.reason for event in await following.parked()] == [first.reason, BEHIND, BEHIND]
    assert await following.counts() == {"roll": 1, "sit": 2}


async def test_what_can_not_be_read_is_parked_as_it_is(following: Following) -> None:
    following.teach(0, "sit")
    following.relay()
    key = following.dog_id(0).encode()
    following.put(key, b"?", [("ce_type", b"Dog.TrickAdded")])
    following.teach(0, "beg")

    await following.catch_up()

    (foreign,) = await following.parked()
    assert (foreign.key, foreign.value, foreign.position) == (key, b"?", None)
    assert "is missing" in foreign.reason
    assert await following.counts() == {"sit": 1, "beg": 1}


async def test_a_partition_stops_before_what_fails_and_goes_on_from_there(
    following: Following, mended: Callable[[], None]
) -> None:
    following.teach(0, "sit", "poison", "beg")
    following.teach(1, "sit")

    outcome = await following.catch_up(OnError.STOP)

    assert isinstance(outcome, Applied)
    assert list(outcome.stopped) == [0]
    assert outcome.stopped[0].startswith("CannotTakeError: poison (partition 0, offset 2, position")
    assert (outcome.events, outcome.parked) == (4, 0)
    assert [tracking.offset for tracking in (await following.seen()).values()] == [2, 2]
    assert await following.counts() == {"sit": 2}
    async with following.store.connected() as connection:
        rows = await following.store.tracking.progress(connection)
    assert [(row.records, row.stopped) for row in rows] == [(2, outcome.stopped[0]), (2, None)]

    mended()
    assert isinstance(await following.catch_up(OnError.STOP), Applied)
    assert await following.counts() == {"beg": 1, "poison": 1, "sit": 2}
    async with following.store.connected() as connection:
        rows = await following.store.tracking.progress(connection)
    assert [(row.records, row.stopped) for row in rows] == [(4, None), (2, None)]


async def test_who_asks_for_it_is_told_the_error_of_the_policy(following: Following) -> None:
    following.teach(0, "poison")

    with pytest.raises(CannotApplyError, match="CannotTakeError") as raised:
        await following.catch_up(OnError.RAISE)

    assert isinstance(raised.value.__cause__, CannotTakeError)
    assert await following.parked() == []
    assert await following.counts() == {}


async def test_what_is_parked_is_redriven_in_order_and_live_events_go_on_from_there(
    following: Following, mended: Callable[[], None]
) -> None:
    following.teach(0, "sit", "poison", "beg")
    await following.catch_up()
    first, behind = await following.parked()

    with pytest.raises(StillFailingError, match=f"Parked event {first.id}.*CannotTakeError"):
        await retry(following.store, following.dog_id(0))
    assert await following.parked() == [first, behind]
    assert await following.counts() == {"sit": 1}

    mended()
    assert await retry(following.store, following.dog_id(0)) == 2
    assert await following.parked() == []
    assert await following.counts() == {"beg": 1, "poison": 1, "sit": 1}
    following.teach(0, "beg")
    await following.catch_up()
    assert await following.counts() == {"beg": 2, "poison": 1, "sit": 1}
    with pytest.raises(NotParkedError):
        await retry(following.store, following.dog_id(0))


async def test_a_redrive_that_fails_half_way_has_done_nothing_where_there_are_transactions(
    following: Following, mended: Callable[[], None]
) -> None:
    following.teach(0, "poison", "venom", "beg")
    await following.catch_up()
    before = await following.parked()
    mended()

    with pytest.raises(StillFailingError, match="venom"):
        await retry(following.store, following.dog_id(0))

    if isinstance(following.store.parking, MemoryParking):
        assert await following.parked() == before[1:]
        assert await following.counts() == {"poison": 1}
    else:
        assert await following.parked() == before
        assert await following.counts() == {}


async def test_only_the_first_is_dropped_for_ever_and_those_behind_it_go_on(
    following: Following,
) -> None:
    following.teach(0, "venom", "beg")
    await following.catch_up()
    first, behind = await following.parked()

    with pytest.raises(NotFirstError):
        await drop(following.store, behind.id, by="Ada", reason="no trick")
    await drop(following.store, first.id, by="Ada", reason="no trick")

    (dropped,) = await dropped_events(following.store)
    assert (dropped.dropped_by, dropped.reason) == ("Ada", "no trick")
    assert (dropped.first_offset, dropped.last_offset) == (first.record_offset,) * 2
    assert dropped.failure == "CannotTakeError: venom"
    assert await retry(following.store, following.dog_id(0)) == 1
    seen = await following.seen()
    await following.apply(following.batch(seen, again=True), seen)
    assert await following.parked() == []
    assert await following.counts() == {"beg": 1}


@pytest.mark.parametrize("conflicts", [1, ATTEMPTS - 1])
async def test_what_conflicts_with_what_another_records_is_applied_again(
    following: Following, conflicts: int
) -> None:
    await following.catch_up()
    following.teach(0, "sit")
    following.teach(1, "sit")
    refuse(conflicts)

    outcome = await following.catch_up()

    assert isinstance(outcome, Applied)
    assert outcome.parked == 0
    assert await following.counts() == {"sit": 2}


async def test_what_conflicts_again_and_again_is_parked(following: Following) -> None:
    await following.catch_up()
    following.teach(0, "sit")
    refuse(ATTEMPTS + 1)

    await following.catch_up()

    (parked,) = await following.parked()
    assert parked.reason == "IntegrityError: somebody was quicker"
    assert await following.counts() == {}


async def test_a_redrive_that_conflicts_is_made_again(
    following: Following, mended: Callable[[], None]
) -> None:
    following.teach(0, "poison")
    await following.catch_up()
    mended()
    refuse(ATTEMPTS - 1)

    assert await retry(following.store, following.dog_id(0)) == 1
    assert await following.counts() == {"poison": 1}


@pytest.mark.parametrize("error", [OperationalError, ConnectionError])
async def test_a_batch_that_is_broken_off_within_is_applied_once(
    following: Following, error: type[Exception]
) -> None:
    following.teach(0, "sit", "beg")
    following.teach(1, "sit")

    def lost() -> None:
        raise error

    Patient.meanwhile.extend([lost, lambda: None])
    with pytest.raises(error):
        await following.catch_up()
    assert await following.parked() == []

    assert isinstance(await following.catch_up(), Applied)
    assert await following.counts() == {"beg": 1, "sit": 2}


async def test_a_batch_that_is_broken_off_after_the_tracking_has_moved_is_applied_once(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    following.teach(0, "sit", "poison")
    before = await following.seen()
    set_aside = following.store.parking.set_aside

    async def lost(*_: object) -> None:
        raise OperationalError

    with monkeypatch.context() as broken:
        broken.setattr(following.store.parking, "set_aside", lost)
        with pytest.raises(OperationalError):
            await following.catch_up()
    assert following.store.parking.set_aside == set_aside
    assert await following.seen() == before
    assert await following.counts() == {}

    await following.catch_up()
    assert len(await following.parked()) == 1
    assert await following.counts() == {"sit": 1}


async def test_a_batch_that_is_broken_off_when_it_has_parked_is_parked_once(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    following.teach(0, "sit", "poison", "beg")
    park = following.store.parking.park

    async def park_and_lose(*given: object) -> bool:
        await park(*given)  # type: ignore[arg-type]
        raise OperationalError

    with monkeypatch.context() as broken:
        broken.setattr(following.store.parking, "park", park_and_lose)
        with pytest.raises(OperationalError):
            await following.catch_up()

    await following.catch_up()
    assert [event.reason for event in await following.parked()] == [
        "CannotTakeError: poison",
        BEHIND,
    ]
    assert await following.counts() == {"sit": 1}


async def test_what_an_operator_skips_is_passed_over_and_recorded_for_ever(
    following: Following,
) -> None:
    following.teach(0, "sit", "beg")
    following.relay()
    seen = await following.seen()
    skip = Skip(seen[0], "topic", 2, following.link(0, 1))

    async with following.store.connected() as connection:
        for _ in range(2):
            await following.store.skip(connection, skip)
    await following.catch_up()

    (dropped,) = await dropped_events(following.store)
    assert (dropped.first_offset, dropped.last_offset) == (0, 1)
    assert (dropped.skipped_after, dropped.skipped_to) == ("0", following.link(0, 1).text)
    assert await following.counts() == {"beg": 1}


async def test_only_what_can_be_made_anew_is_replayed(following: Following) -> None:
    following.teach(0, "sit")
    await following.catch_up()

    async with following.store.connected() as connection:
        if following.store.capabilities.replayable:
            await following.store.replay(connection)
            assert await following.counts() == {}
        else:
            with pytest.raises(NotReplayableError, match="a second time"):
                await following.store.replay(connection)
    await following.catch_up()
    assert await following.counts() == {"sit": 1}


def refuse(times: int) -> None:
    """Have the next attempts at a trick conflict, each with what somebody else records."""

    def conflict() -> None:
        raise IntegrityError("somebody was quicker")

    Patient.meanwhile.extend([conflict] * times)
