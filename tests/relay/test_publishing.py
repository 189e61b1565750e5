"""Every notification is published once, in order of position, keyed by its aggregate."""

from datetime import UTC, datetime
from typing import Any

import pytest

from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, PageLogged, Slug
from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.relay import Publisher
from eventsourcing_kafka.producer.relay.publisher import (
    BATCH_BYTES,
    SLICE,
    WORTH_COMPRESSING,
)
from eventsourcing_kafka.producer.relay.topics import LARGEST_RECORD_BYTES
from eventsourcing_kafka.producer.wire import EventTypes, WireFormat
from eventsourcing_kafka.producer.wire.position import read_published

from .under_test import PAGES, PARTITIONS, RelayUnderTest, by_offset, by_position, positions

NONE, ZSTD = 0, 4
CODEC_AT, CODEC_BITS = 22, 0b111
"""Where a record batch says how it is compressed."""


async def test_every_notification_is_published_once_and_in_order_inside_its_partition(
    under_test: RelayUnderTest,
) -> None:
    last = under_test.write(100)

    await under_test.catch_up(limit=30)

    records = await under_test.records()
    assert sorted(positions(records)) == list(range(1, last + 1))
    assert sorted(records, key=by_offset) == sorted(records, key=by_position)
    assert len({record.partition for record in records}) > 1


async def test_records_are_keyed_and_placed_by_their_aggregate(under_test: RelayUnderTest) -> None:
    under_test.write(20)

    await under_test.catch_up()

    records = await under_test.records()
    assert {record.key for record in records} == {str(page_id).encode() for page_id in PAGES}
    for record in records:
        assert record.key == dict(record.headers)["ce_subject"]
        assert record.partition == partition_of(record.key, PARTITIONS)


async def test_what_is_published_is_read_as_the_events_that_were_stored(
    under_test: RelayUnderTest,
) -> None:
    under_test.app.create_page("A rose", "rose")
    under_test.app.update_body("rose", "is a rose")

    await under_test.catch_up()

    wire = WireFormat(under_test.app.name, EventTypes.of(Page, PageLogged, Slug))
    for record in await under_test.records():
        envelope = wire.envelope(record.key, record.headers)
        (stored,) = under_test.app.recorder.select_notifications(envelope.position, 1)
        event = wire.to_event(envelope, record.value)
        assert event == under_test.app.mapper.to_domain_event(stored)
        assert record.timestamp == int(vars(event)["timestamp"].timestamp() * 1000)


async def test_the_position_is_published_with_the_partitions_it_holds_for(
    under_test: RelayUnderTest,
) -> None:
    last = under_test.write(7)

    await under_test.catch_up(limit=2)

    published = await read_published(under_test.topics, under_test.settings)
    assert published
    assert (published.position, published.partitions) == (last, PARTITIONS)


async def test_a_relay_goes_on_where_the_last_one_came(under_test: RelayUnderTest) -> None:
    for _ in range(3):
        last = under_test.write(5)
        await under_test.catch_up()

    assert sorted(positions(await under_test.records())) == list(range(1, last + 1))


async def test_what_is_written_while_a_relay_runs_is_published_at_once(
    under_test: RelayUnderTest,
) -> None:
    async with under_test.relaying():
        for _ in range(5):
            await under_test.progress.reached(under_test.write(3))

    assert sorted(positions(await under_test.records())) == list(range(1, 16))


async def test_a_hole_is_nothing_to_publish(under_test: RelayUnderTest) -> None:
    await under_test.execute("SELECT setval('contentmanagement_events_notification_id_seq', 3)")
    last = under_test.write(2)

    await under_test.catch_up()

    assert sorted(positions(await under_test.records())) == [4, 5]
    assert last == 5


@pytest.mark.parametrize("size", [BATCH_BYTES, 900_000, 1_900_000])
async def test_an_event_larger_than_a_batch_is_published(
    under_test: RelayUnderTest, size: int
) -> None:
    under_test.write(3)
    under_test.write(2, size=size)
    last = under_test.write(3)

    await under_test.catch_up()

    records = await under_test.records()
    assert sorted(positions(records)) == list(range(1, last + 1))
    assert sum(len(record.value) >= size for record in records) == 2


async def test_an_event_that_only_compression_makes_small_is_published(
    under_test: RelayUnderTest,
) -> None:
    body_updated: Any = Page.BodyUpdated
    event = body_updated(
        originator_id=PAGES[0],
        originator_version=1,
        timestamp=Page.Event.create_timestamp(),
        diff="a" * 2 * LARGEST_RECORD_BYTES,
    )
    under_test.app.recorder.insert_events([under_test.app.mapper.to_stored_event(event)])

    await under_test.catch_up()

    (record,) = await under_test.records()
    assert len(record.value) > 2 * LARGEST_RECORD_BYTES


@pytest.mark.parametrize(
    ("count", "size", "codec"), [(3, 100, NONE), (1, WORTH_COMPRESSING, ZSTD), (SLICE, 0, ZSTD)]
)
async def test_only_what_is_large_is_compressed(
    under_test: RelayUnderTest, count: int, size: int, codec: int
) -> None:
    last = under_test.write(count, size=size)
    notifications = under_test.app.recorder.select_notifications(1, last)

    async with Publisher.connected(under_test.wire, under_test.settings, "by hand") as publisher:
        batch = await publisher.batch(map(under_test.wire.to_record, notifications), last)

    builders = [builder for each in batch.by_partition.values() for builder in each]
    assert sum(builder.record_count() for builder in builders) == count
    assert {builder._build()[CODEC_AT] & CODEC_BITS for builder in builders} == {codec}


async def test_a_transaction_of_many_batches_for_each_partition_is_published(
    under_test: RelayUnderTest,
) -> None:
    for _ in range(4):  # The library never comes back from writing all of it at once.
        last = under_test.write(30, size=BATCH_BYTES // 10)

    await under_test.catch_up()

    records = await under_test.records()
    assert sorted(positions(records)) == list(range(1, last + 1))
    assert sorted(records, key=by_offset) == sorted(records, key=by_position)


async def test_an_event_of_a_machine_with_a_wrong_clock_is_published(
    under_test: RelayUnderTest,
) -> None:
    under_test.write(when=datetime(1900, 1, 1, tzinfo=UTC))
    under_test.write(when=datetime(2200, 1, 1, tzinfo=UTC))

    await under_test.catch_up()

    assert sorted(positions(await under_test.records())) == [1, 2]
