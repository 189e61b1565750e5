"""A relay that dies or loses its connection anywhere in a batch loses and doubles nothing."""

from collections.abc import Callable
from itertools import count

import pytest
from aiokafka.errors import KafkaConnectionError

from . import killing
from .killing import Injection, Killed
from .under_test import RelayUnderTest, by_offset, by_position, positions

MOST_STEPS = 50

Where = Callable[[pytest.MonkeyPatch, Injection], None]


@pytest.mark.parametrize("error", [Killed(), KafkaConnectionError()], ids=["killed", "cut off"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("where", [killing.at_awaits, killing.at_requests])
async def test_a_relay_that_ends_anywhere_in_a_batch_loses_and_doubles_nothing(
    under_test: RelayUnderTest, where: Where, done: bool, error: Exception
) -> None:
    for n in count(1):
        injection = Injection(error, n, done=done)
        await _relay_with(under_test, where, injection)  # It also mends what the last one left.
        if not injection.happened:
            break

    assert 3 < n < MOST_STEPS
    await under_test.catch_up()
    records = await under_test.records()
    assert sorted(positions(records)) == list(range(1, under_test.write()))
    assert sorted(records, key=by_offset) == sorted(records, key=by_position)


async def _relay_with(under_test: RelayUnderTest, where: Where, injection: Injection) -> None:
    """Run a relay until it is killed, or has published everything all the same."""
    last = under_test.write(6)
    with pytest.MonkeyPatch.context() as monkeypatch:
        where(monkeypatch, injection)
        try:
            async with under_test.relaying():
                await under_test.progress.reached(last)
        except* Exception:  # noqa: BLE001 - what comes of it is not the point
            assert injection.happened
