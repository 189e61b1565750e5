"""What is read is shared out, and of each partition applied in its order."""

from collections.abc import Sequence

import anyio
import pytest

from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, Span
from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.consumer.engine.work_queue import WORTH_SHARING, WorkQueue

WORKERS = 3


def span(partition: int, start: int, end: int) -> Span:
    """Return a span with a record at each of its offsets."""
    records = [ConsumedRecord("", partition, offset) for offset in range(start, end)]
    return Span(partition, start, end, records)


def seen(**offsets: int) -> dict[int, Tracking]:
    numbers = {int(name.removeprefix("p")): offset for name, offset in offsets.items()}
    return {number: Tracking(number, 0, offset) for number, offset in numbers.items()}


def offsets(spans: Sequence[Span]) -> list[tuple[int, int, int, list[int]]]:
    return [(s.partition, s.start, s.end, [record.offset for record in s.records]) for s in spans]


async def queued(*spans: Span, limit: int = 10_000) -> WorkQueue:
    queue = WorkQueue(WORKERS, limit)
    await queue.add(spans)
    return queue


async def test_few_records_are_for_one_worker() -> None:
    queue = await queued(*(span(number, 0, 10) for number in range(8)))
    with queue.claim(seen(**{f"p{number}": 0 for number in range(8)})) as batch:
        assert [span.partition for span in batch] == list(range(8))


async def test_many_are_for_all_workers_and_those_first_that_wait_longest() -> None:
    queue = await queued(*(span(number, 0, WORTH_SHARING) for number in (2, 0, 1)))
    all_seen = seen(p0=0, p1=0, p2=0)
    with queue.claim(all_seen) as first, queue.claim(all_seen) as second:
        assert [span.partition for span in (*first, *second)] == [2, 0]


async def test_a_partition_is_claimed_by_one_worker_at_a_time() -> None:
    queue = await queued(span(0, 0, 10))
    with queue.claim(seen(p0=0)):
        await queue.add([span(0, 10, 20)])
        with anyio.move_on_after(0) as scope:
            await queue.claimable()
        assert scope.cancelled_caught
        assert not queue.is_empty
        await queue.add([span(1, 0, 1)])
        with queue.claim(seen(p0=10, p1=0)) as batch:
            assert offsets(batch) == [(1, 0, 1, [0])]
    await queue.claimable()
    with queue.claim(seen(p0=10)) as batch:
        assert offsets(batch) == [(0, 10, 20, list(range(10, 20)))]
        assert not queue.is_empty
    assert queue.is_empty


async def test_what_follows_is_joined_and_what_came_before_a_seek_is_void() -> None:
    spans = [span(0, 8, 9), span(0, 0, 4), span(0, 2, 6), span(0, 0, 2), span(0, 6, 6)]
    queue = await queued(*spans, span(0, 6, 8), span(1, 5, 6), span(2, 0, 1))
    with queue.claim(seen(p0=1, p1=3)) as batch:
        assert offsets(batch) == [(0, 1, 8, list(range(1, 8)))]


async def test_who_reads_waits_while_too_much_waits_to_be_applied() -> None:
    queue = await queued(span(0, 0, 3), limit=4)
    with anyio.move_on_after(0) as scope:
        await queue.add([span(0, 3, 6)])
    assert scope.cancelled_caught
    async with anyio.create_task_group() as reading:
        reading.start_soon(queue.add, [span(0, 6, 7)])
        await anyio.wait_all_tasks_blocked()
        with queue.claim(seen(p0=0)) as batch:
            assert offsets(batch) == [(0, 0, 7, list(range(7)))]
            with anyio.fail_after(1):
                await queue.add([])


async def test_a_worker_that_fails_lets_its_partitions_go() -> None:
    queue = await queued(span(0, 0, 1))
    with pytest.raises(ZeroDivisionError), queue.claim(seen(p0=0)):
        raise ZeroDivisionError
    assert queue.is_empty
