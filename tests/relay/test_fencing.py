"""Of two relays for one application, one publishes."""

import pytest
from aiokafka.errors import ProducerFenced

from producer.relay import Publisher
from producer.wire import Record

from .pipeline import Pipeline, positions


def record(pipeline: Pipeline, position: int) -> Record:
    (notification,) = pipeline.app.recorder.select_notifications(position, 1)
    return pipeline.wire.to_record(notification)


async def test_a_publisher_that_was_replaced_publishes_nothing_more(pipeline: Pipeline) -> None:
    pipeline.write(3)
    name, settings = pipeline.app.name, pipeline.settings

    async with Publisher.connected(name, settings) as old:
        await old.publish([record(pipeline, 1)], 1)
        async with Publisher.connected(name, settings) as new:
            assert await new.position() == 1
            with pytest.raises(ProducerFenced):
                await old.publish([record(pipeline, 2)], 2)
            assert await new.position() == 1
            await new.publish([record(pipeline, 2), record(pipeline, 3)], 3)
            assert await new.position() == 3

    assert sorted(positions(await pipeline.records())) == [1, 2, 3]


async def test_a_publisher_replaced_in_the_middle_of_a_batch_publishes_nothing_of_it(
    pipeline: Pipeline,
) -> None:
    pipeline.write(2)
    name, settings = pipeline.app.name, pipeline.settings

    async with Publisher.connected(name, settings) as old:
        producer = old._producer
        commit = producer.commit_transaction

        async def commit_late() -> None:
            async with Publisher.connected(name, settings) as new:
                assert await new.position() == 0
            await commit()

        producer.commit_transaction = commit_late
        with pytest.raises(ProducerFenced):
            await old.publish([record(pipeline, 1), record(pipeline, 2)], 2)

    assert await pipeline.records() == []


async def test_a_relay_that_was_replaced_ends_and_its_successor_goes_on(
    pipeline: Pipeline,
) -> None:
    last = pipeline.write(3)

    with pytest.RaisesGroup(ProducerFenced, flatten_subgroups=True):
        async with pipeline.relaying():
            await pipeline.progress.reached(last)
            await pipeline.catch_up()
            await pipeline.progress.reached(pipeline.write(3))
            await pipeline.catch_up()

    assert sorted(positions(await pipeline.records())) == list(range(1, 7))
