"""Ten write models beside each other, each with a relay of its own."""

from contextlib import ExitStack

import anyio

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import Relay
from eventsourcing_kafka.producer.wire import WireFormat
from examples.dogschool.application import DogSchool
from tests.pipeline import until

from .under_test import records_of

RELAYS, PARTITIONS, DOGS = 10, 4, 20


async def test_ten_relays_publish_each_the_events_of_its_own(environment: dict[str, str]) -> None:
    settings = KafkaSettings.from_env({**environment, "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS)})
    schools = [type(f"School{number}", (DogSchool,), {}) for number in range(RELAYS)]
    with ExitStack() as opened:
        apps = [opened.enter_context(school(environment)) for school in schools]
        relays = [Relay(outbox_of(app), WireFormat.of(app), settings) for app in apps]
        heads = [max(app.register_dog(f"dog {n}") for n in range(DOGS)) for app in apps]

        async def are_all_there() -> bool:
            return [relay.position for relay in relays] == heads

        async with anyio.create_task_group() as tasks:
            for relay in relays:
                tasks.start_soon(relay.run)
            with anyio.fail_after(60):
                await until(are_all_there)
            tasks.cancel_scope.cancel()

    for app in apps:
        records = await records_of(Topics.of(app.name, settings), settings, PARTITIONS)
        assert len(records) == DOGS
        assert {dict(record.headers)["ce_source"] for record in records} == {
            f"/{app.name}".encode()
        }
        assert len({record.partition for record in records}) == PARTITIONS
