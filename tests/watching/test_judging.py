"""What a loop is found to be: well, or not, and never by what was seen last."""

from collections.abc import Callable, Iterator, Sequence

import anyio
import pytest
from prometheus_client import generate_latest

from eventsourcing_kafka.producer.runtime import health
from eventsourcing_kafka.producer.runtime.health import (
    READY_LAG_SECONDS,
    STANDS_SECONDS,
    Exposed,
    Gauge,
    Line,
    Look,
    Watched,
)
from eventsourcing_kafka.producer.runtime.retry import Vitals, enduring
from eventsourcing_kafka.producer.runtime.terminal import OperatorError


class Loop(Watched[Line]):
    """Is as far as it is told."""

    kind = "loop"
    label = "name"
    gauges = (Gauge("gap", "Behind.", lambda row: row.gap),)

    def __init__(self, *rows: Line) -> None:
        super().__init__("test", Vitals())
        self.rows: Sequence[Line] | Exception | None = rows

    async def read(self) -> Sequence[Line]:
        if self.rows is None:
            await anyio.sleep_forever()
        if isinstance(self.rows, Exception):
            raise self.rows
        return self.rows or ()

    def line(self, row: Line) -> Line:
        return row


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health, "current_time", lambda: clock.now)
    return clock


def at(place: int, gap: int, *, lag: float = 0.0, ours: bool = True) -> Line:
    return Line("partition 1", place, gap, lag, ours)


def exposed(loop: Loop, look: Look) -> dict[str, float]:
    """Return what is told of a loop, and no other."""
    printed = generate_latest(Exposed([(loop, look)])).decode().splitlines()
    ours = (line.rsplit(" ", 1) for line in printed if "_loop_" in line and line[0] != "#")
    return {name.partition("{")[0]: float(value) for name, value in ours}


async def looks(loop: Loop, clock: Clock, *rows: Line) -> Iterator[bool]:
    """Return whether it is healthy, look by look, nearly as long apart as it may stand."""
    found = []
    for row in rows:
        loop.rows = [row]
        found.append((await loop.look()).healthy)
        clock.now += STANDS_SECONDS * 0.6
    return iter(found)


async def test_a_loop_that_does_not_move_though_there_is_work_is_not_healthy(clock: Clock) -> None:
    found = await looks(Loop(), clock, at(5, 1), at(5, 2), at(5, 3), at(6, 3))

    assert list(found) == [True, True, False, True]


async def test_work_that_has_just_come_after_a_long_rest_is_no_reason_to_worry(
    clock: Clock,
) -> None:
    found = await looks(Loop(), clock, at(5, 1), at(5, 0), at(5, 0), at(5, 1), at(5, 1))

    assert all(found)


async def test_what_is_not_ours_to_bring_on_is_not_our_fault(clock: Clock) -> None:
    found = await looks(Loop(), clock, *(at(5, 1, ours=False) for _ in range(4)))

    assert all(found)


async def test_who_is_far_behind_is_healthy_and_not_ready() -> None:
    late = await Loop(at(5, 70, lag=READY_LAG_SECONDS + 1)).look()
    soon = await Loop(at(5, 70, lag=READY_LAG_SECONDS - 1)).look()

    assert (late.healthy, late.ready, late.why) == (
        True,
        False,
        ["partition 1 is behind: gap 70, lag 31 s"],
    )
    assert (soon.ready, soon.why) == (True, [])


async def test_without_a_topic_it_is_healthy_and_not_ready() -> None:
    look = await Loop().look()

    assert (look.healthy, look.ready, look.why) == (True, False, ["there is no topic yet"])


async def test_what_has_stopped_is_not_healthy() -> None:
    look = await Loop(at(5, 70)._replace(stopped="it is poison", ours=False)).look()

    assert (look.healthy, look.why) == (False, ["partition 1 has stopped: it is poison"])


@pytest.mark.parametrize("rows", [None, OSError("no route")], ids=["hangs", "fails"])
async def test_a_head_that_cannot_be_read_is_told_as_that_and_no_figure_is_given(
    rows: OSError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "READ_SECONDS", 0.05)
    loop = Loop(at(5, 0))
    before = await loop.look()

    loop.rows = rows
    after = await loop.look()

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
    found: list[Look] = []

    async def life(alive: Callable[[], None]) -> None:
        found.append(await loop.look())
        if len(found) < 3:
            raise ConnectionError("gone")
        alive()
        found.append(await loop.look())
        raise OperatorError("restore a newer backup")

    with pytest.raises(OperatorError):
        await enduring("test", life, loop.vitals)

    lost = ["waits for its server: ConnectionError: gone"]
    assert [look.why for look in found] == [[], lost, lost, []]
    assert exposed(loop, found[-1])["eventsourcing_kafka_loop_restarts_total"] == 2
    ended = await loop.look()
    assert (ended.healthy, ended.why) == (
        False,
        ["has ended: OperatorError: restore a newer backup"],
    )


async def test_an_error_that_may_quote_an_event_is_told_by_its_name_only() -> None:
    loop = Loop(at(5, 0))

    async def life(alive: Callable[[], None]) -> None:
        raise ValueError("the body of a page")

    with pytest.raises(ValueError, match="page"):
        await enduring("test", life, loop.vitals)

    assert (await loop.look()).why == ["has ended: ValueError"]


async def test_figures_of_several_parts_are_one_family() -> None:
    loops = [Loop(at(5, 1)), Loop(at(5, 2))]
    looked = [(loop, await loop.look()) for loop in loops]

    printed = generate_latest(Exposed(looked)).decode()

    assert printed.count("# TYPE eventsourcing_kafka_loop_gap gauge") == 1
    assert printed.count("\neventsourcing_kafka_loop_gap{") == 2
