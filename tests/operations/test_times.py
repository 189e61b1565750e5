"""Which position a time is, by what the events of the write model say."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import typer
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate

from eventsourcing_kafka.consumer.operations.commands.as_of import moment
from eventsourcing_kafka.consumer.operations.history import LOOK_ON, NoHistoryError, position_at
from tests.consumer.stores import TRICKS

BEGIN = datetime(2026, 1, 31, 18, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NO_ZONE = datetime(2026, 1, 31, 18)  # noqa: DTZ001 - nobody can tell when that was


class Clocks(Application[UUID]):
    """Records events at times of the test's choice."""


async def found(tmp_path: Path, times: Sequence[datetime], at: datetime) -> int:
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(tmp_path / f"{uuid4()}.db"),
    }
    clocks: Any = Clocks(env)
    clocks.events.put(
        [
            Aggregate.Event(originator_id=uuid4(), originator_version=1, timestamp=time)
            for time in times
        ]
    )
    clocks.close()
    return await position_at(at, TRICKS, env, Clocks)


async def test_it_is_the_position_of_the_last_event_at_or_before_it(tmp_path: Path) -> None:
    times = [BEGIN + number * SECOND for number in range(10)]
    for number, time in enumerate(times, start=1):
        assert await found(tmp_path, times, time) == number
    assert await found(tmp_path, times, times[3] + SECOND / 2) == 4
    assert await found(tmp_path, times, datetime.now(UTC)) == 10
    with pytest.raises(NoHistoryError, match="recorded at or before 2026-01-31T17:59:59"):
        await found(tmp_path, times, BEGIN - SECOND)


async def test_of_several_events_of_one_time_it_is_the_last_and_another_zone_is_no_other_time(
    tmp_path: Path,
) -> None:
    times = [BEGIN, BEGIN, BEGIN + SECOND, BEGIN + SECOND, BEGIN + 2 * SECOND]
    elsewhere = datetime.fromisoformat("2026-01-31T20:00:01+02:00")
    assert await found(tmp_path, times, elsewhere) == 4


async def test_where_the_clocks_of_writers_differ_a_little_the_last_is_found_all_the_same(
    tmp_path: Path,
) -> None:
    ahead = [BEGIN + number * SECOND for number in range(40)]
    times = [ahead[number ^ 7] for number in range(40)]  # Up to seven seconds off.
    for time in ahead:
        last = max(number for number, each in enumerate(times, start=1) if each <= time)
        assert await found(tmp_path, times, time) == last
    assert LOOK_ON > 40


async def test_events_that_say_no_time_are_of_the_time_of_none(tmp_path: Path) -> None:
    times = [NO_ZONE, BEGIN, NO_ZONE, NO_ZONE, BEGIN + SECOND, NO_ZONE]
    assert await found(tmp_path, times, BEGIN) == 2
    assert await found(tmp_path, times, BEGIN + SECOND) == 5
    with pytest.raises(NoHistoryError, match="No event of"):
        await found(tmp_path, [NO_ZONE] * 3, BEGIN)


async def test_what_is_to_come_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoHistoryError, match="yet to come"):
        await found(tmp_path, [BEGIN], datetime.now(UTC) + timedelta(hours=1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("0042", 42),
        ("2026-01-31T18:00:00Z", BEGIN),
        ("2026-01-31T19:00:00.000+01:00", BEGIN),
    ],
)
def test_a_position_and_a_time_with_its_zone_are_understood(text: str, expected: object) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize(
    "text", ["0", "-1", "1.5", "", "٣", "latest", "2026-13-01T00:00:00Z", "9" * 5000]
)
def test_what_is_neither_is_refused_with_how_to_say_it(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="as 2026-01-31T18:00:00Z"):
        moment(text)


@pytest.mark.parametrize("text", ["2026-01-31", "2026-01-31T18:00:00"])
def test_a_time_without_its_zone_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="says no zone"):
        moment(text)
