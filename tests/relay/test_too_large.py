"""An event that is larger than the topic takes any."""

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from eventsourcing_kafka.producer.relay import TooLargeError
from eventsourcing_kafka.producer.relay.topics import LARGEST_RECORD_BYTES, LIMIT

from .under_test import RelayUnderTest, positions

SIZE = 3 * 1024 * 1024


async def test_it_is_named_with_its_size_and_the_setting_and_goes_once_that_is_raised(
    under_test: RelayUnderTest,
) -> None:
    under_test.write(4)
    position = under_test.write(1, size=2 * SIZE)

    with pytest.raises(BaseExceptionGroup) as ended:
        await under_test.relay(limit=2).run()

    assert ended.group_contains(TooLargeError)
    status = await under_test.status()
    assert status.position == position - 1
    assert status.problem
    assert (
        f"Page.BodyUpdated {under_test.app.recorder.select_notifications(5, 1)[0].originator_id}"
        in status.problem
    )
    assert f"at position {position}, has 6,291," in status.problem
    assert f"no record over {LARGEST_RECORD_BYTES:,}" in status.problem
    assert f"--add-config {LIMIT}=" in status.problem

    async with under_test.admin() as admin:
        limit = {LIMIT: str(3 * SIZE)}
        topic = ConfigResource(ConfigResourceType.TOPIC, under_test.topics.events, limit)
        await admin.alter_configs([topic])
    await under_test.catch_up()
    assert sorted(positions(await under_test.records())) == [1, 2, 3, 4, 5]
    assert (await under_test.status()).problem is None
