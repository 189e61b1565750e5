"""What every outbox promises."""

import anyio
import pytest

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.outbox.postgres import POLL_SECONDS

from .readers import next_batch, next_positions, read, reading
from .writers import write, write_in_a_thread


async def test_the_head_of_an_empty_store_is_zero(app: ContentManagement) -> None:
    assert await outbox_of(app).head() == 0


async def test_the_head_is_the_highest_position(app: ContentManagement) -> None:
    positions = write(app.recorder, 3)

    assert await outbox_of(app).head() == positions[-1]


async def test_what_is_read_is_what_the_library_reads(app: ContentManagement) -> None:
    app.create_page("A rose", "rose")
    app.update_body("rose", "is a rose")

    async with reading(outbox_of(app)) as batches:
        read_here = await next_batch(batches)

    assert list(read_here) == list(app.recorder.select_notifications(start=1, limit=100))


async def test_notifications_come_in_the_order_of_their_positions(app: ContentManagement) -> None:
    positions = [position for _ in range(10) for position in write(app.recorder, 3)]

    assert await read(outbox_of(app), count=30) == sorted(positions)


async def test_an_aggregate_is_read_in_its_order_up_to_a_position(app: ContentManagement) -> None:
    app.create_page("A rose", "rose")
    app.create_page("A lily", "lily")
    position = app.update_body("rose", "is a rose")
    app.update_body("rose", "is a rose is a rose")
    stored = app.recorder.select_notifications(start=1, limit=100)
    rose = stored[-1].originator_id

    outbox = outbox_of(app, limit=2)
    found = await outbox.of_aggregate(str(rose), position)

    until = [each for each in stored if each.originator_id == rose and each.id <= position]
    assert list(found) == until
    assert len(until) == 2
    assert await outbox.of_aggregate(str(rose), 0) == []
    assert await outbox.of_aggregate(f"{rose}".upper(), position) == found  # However it is typed.
    assert await outbox.of_aggregate("no ID", position) == []


@pytest.mark.parametrize("skipped", [1, 4, 9])
async def test_reading_goes_on_after_a_position(app: ContentManagement, skipped: int) -> None:
    positions = write(app.recorder, 10)

    assert await read(outbox_of(app), positions[skipped - 1]) == positions[skipped:]


@pytest.mark.parametrize(("after", "until"), [(0, 10), (0, 3), (4, 9), (7, 99), (5, 5), (10, 99)])
async def test_a_range_has_all_after_a_position_up_to_another_and_ends(
    app: ContentManagement, after: int, until: int
) -> None:
    positions = write(app.recorder, 10)
    assert positions == list(range(1, 11))

    outbox = outbox_of(app, limit=3)
    found = [[each.id for each in batch] async for batch in outbox.between(after, until)]

    assert [position for batch in found for position in batch] == [
        position for position in positions if after < position <= until
    ]
    assert all(1 <= len(batch) <= 3 for batch in found)


async def test_batches_are_full_while_there_is_a_backlog(app: ContentManagement) -> None:
    write(app.recorder, 10)

    async with reading(outbox_of(app, limit=4)) as batches:
        sizes = [len(await next_batch(batches)) for _ in range(3)]

    assert sizes == [4, 4, 2]


async def test_an_empty_batch_says_that_there_was_no_more(app: ContentManagement) -> None:
    write(app.recorder, 7)

    async with reading(outbox_of(app, limit=5)) as batches:
        sizes = [len(await anext(batches)) for _ in range(3)]

    assert sizes == [5, 2, 0]


async def test_a_reader_that_has_caught_up_is_woken_by_a_writer(app: ContentManagement) -> None:
    async with reading(outbox_of(app)) as batches:
        write(app.recorder)
        await next_batch(batches)
        for _ in range(5):
            async with anyio.create_task_group() as group:
                group.start_soon(write_in_a_thread, app.recorder)
                with anyio.fail_after(POLL_SECONDS * 0.8):
                    assert len(await next_batch(batches)) == 1


async def test_an_empty_store_is_waited_for(app: ContentManagement) -> None:
    async with reading(outbox_of(app)) as batches, anyio.create_task_group() as group:
        group.start_soon(write_in_a_thread, app.recorder)

        assert await next_positions(batches) == [1]


async def test_readers_do_not_disturb_each_other(app: ContentManagement) -> None:
    positions = write(app.recorder, 6)
    outbox = outbox_of(app, limit=2)

    async with reading(outbox) as slow, reading(outbox, after=positions[1]) as quick:
        assert await next_positions(slow) == positions[:2]
        assert await next_positions(quick, 4) == positions[2:]
        assert await next_positions(slow, 4) == positions[2:]
