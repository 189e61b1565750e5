"""What a loop is found to be: well, or not, and never by what was seen last."""

from collections.abc import Callable, Iterator, Sequence

import anyio
import pytest
from prometheus_client import generate_latest

from eventsourcing_kafka.producer.runtime import health
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.health import (
    READY_LAG_SECONDS,
    STANDS_SECONDS,
    Exposed,
    Gauge,
    HealthCheck,
    PartitionProgress,
    Report,
)
from eventsourcing_kafka.producer.runtime.retry import LoopHealth, retrying


class Loop(HealthCheck[PartitionProgress]):
    """Is as far as it is told."""

    kind = "loop"
    label = "name"
    gauges = (Gauge("gap", "Behind.", lambda row: row.gap),)

    def __init__(self, *rows: PartitionProgress) -> None:
        super().__init__("test", LoopHealth())
        self.rows: Sequence[PartitionProgress] | Exception | None = rows

    async def read(self) -> Sequence[PartitionProgress]:
        if self.rows is None:
            await anyio.sleep_forever()
        if isinstance(self.rows, Exception):
            raise self.rows
        return self.rows or ()

    def progress(self, row: PartitionProgress) -> PartitionProgress:
        return row


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health, "current_time", lambda: clock.now)
    return clock


def at(place: int, gap: int, *, lag: float = 0.0, ours: bool = True) -> PartitionProgress:
    return PartitionProgress("partition 1", place, gap, lag, ours)


def exposed(loop: Loop, report: Report) -> dict[str, float]:
    """Return what is told of a loop, and no other."""
    printed = generate_latest(Exposed([(loop, report)])).decode().splitlines()
    ours = (
        progress.rsplit(" ", 1)
        for progress in printed
        if "_loop_" in progress and progress[0] != "#"
    )
    return {name.partition("{")[0]: float(value) for name, value in ours}


async def reports(loop: Loop, clock: Clock, *rows: PartitionProgress) -> Iterator[bool]:
    """Return whether it is healthy, look by look, nearly as long apart as it may stand."""
    found = []
    for row in rows:
        loop.rows = [row]
        found.append((await loop.report()).healthy)
        clock.now += STANDS_SECONDS * 0.6
    return iter(found)


async def test_a_loop_that_does_not_move_though_there_is_work_is_not_healthy(clock: Clock) -> None:
    found = await reports(Loop(), clock, at(5, 1), at(5, 2), at(5, 3), at(6, 3))

    assert list(found) == [True, True, False, True]


async def test_work_that_has_just_come_after_a_long_rest_is_no_reason_to_worry(
    clock: Clock,
) -> None:
    found = await reports(Loop(), clock, at(5, 1), at(5, 0), at(5, 0), at(5, 1), at(5, 1))

    assert all(found)


async def test_what_is_not_ours_to_bring_on_is_not_our_fault(clock: Clock) -> None:
    found = await reports(Loop(), clock, *(at(5, 1, ours=False) for _ in range(4)))

    assert all(found)


async def test_who_is_far_behind_is_healthy_and_not_ready() -> None:
    late = await Loop(at(5, 70, lag=READY_LAG_SECONDS + 1)).report()
    soon = await Loop(at(5, 70, lag=READY_LAG_SECONDS - 1)).report()

    assert (late.healthy, late.ready, late.why) == (
        True,
        False,
        ["partition 1 is behind: gap 70, lag 31 s"],
    )
    assert (soon.ready, soon.why) == (True, [])


async def test_without_a_topic_it_is_healthy_and_not_ready() -> None:
    report = await Loop().report()

    assert (report.healthy, report.ready, report.why) == (True, False, ["there is no topic yet"])


async def test_what_has_stopped_is_not_healthy() -> None:
    report = await Loop(at(5, 70)._replace(stopped="it is poison", ours=False)).report()

    assert (report.healthy, report.why) == (False, ["partition 1 has stopped: it is poison"])


@pytest.mark.parametrize("rows", [None, OSError("no route")], ids=["hangs", "fails"])
async def test_a_head_that_cannot_be_read_is_told_as_that_and_no_figure_is_given(
    rows: OSError | None,
) -> None:
    loop = Loop(at(5, 0))
    loop.read_seconds = 0.05
    before = await loop.report()

    loop.rows = rows
    after = await loop.report()

    assert exposed(loop, before)["eventsourcing_kafka_loop_gap"] == 0
    assert exposed(loop, after) == {
        "eventsourcing_kafka_loop_restarts_total": 0,
        "eventsourcing_kafka_loop_healthy": 0,
        "eventsourcing_kafka_loop_ready": 0,
    }
    assert (before.healthy, after.healthy, after.standing) == (True, False, ())
    assert after.why[0].startswith("its true head can't be read: ")
    assert ("no route" in after.why[0]) is (rows is not None)


async def test_a_lost_server_shows_until_a_life_gets_through_and_each_life_is_counted() -> None:
    loop = Loop(at(5, 0))
    found: list[Report] = []

    async def session(progressed: Callable[[], None]) -> None:
        found.append(await loop.report())
        if len(found) < 3:
            raise ConnectionError("gone")
        progressed()
        found.append(await loop.report())
        raise OperatorError("restore a newer backup")

    with pytest.raises(OperatorError):
        await retrying("test", session, loop.health)

    lost = ["waiting for its server: ConnectionError: gone"]
    assert [report.why for report in found] == [[], lost, lost, []]
    assert exposed(loop, found[-1])["eventsourcing_kafka_loop_restarts_total"] == 2
    ended = await loop.report()
    assert (ended.healthy, ended.why) == (
        False,
        ["has ended: OperatorError: restore a newer backup"],
    )


async def test_an_error_that_may_quote_an_event_is_told_by_its_name_only() -> None:
    loop = Loop(at(5, 0))

    async def session(progressed: Callable[[], None]) -> None:
        raise ValueError("the body of a page")

    with pytest.raises(ValueError, match="page"):
        await retrying("test", session, loop.health)

    assert (await loop.report()).why == ["has ended: ValueError"]


async def test_figures_of_several_parts_are_one_family() -> None:
    loops = [Loop(at(5, 1)), Loop(at(5, 2))]
    looked = [(loop, await loop.report()) for loop in loops]

    printed = generate_latest(Exposed(looked)).decode()

    assert printed.count("# TYPE eventsourcing_kafka_loop_gap gauge") == 1
    assert printed.count("\neventsourcing_kafka_loop_gap{") == 2
