"""Followers of a system read what Kafka has deleted from their leader, wherever both are stored."""

import anyio
import pytest

from eventsourcing_kafka.compose.runner import KafkaRunner
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from examples.counters.application import Counters
from examples.counters.system import system
from examples.dogschool.application import DogSchool
from tests.chaos.damage import delete_records
from tests.layers import on
from tests.pipeline import SECONDS

from .storing import POSTGRES_AND_SQLITE, PRIVATE_POSTGRES, Persistence, Place
from .test_dog_school import increments

WHERE = [
    on(each, needs={"kafka", *each.servers}, name=each.name)
    for each in (PRIVATE_POSTGRES, POSTGRES_AND_SQLITE)
]


@pytest.mark.parametrize("persistence", WHERE)
def test_a_follower_that_comes_late_has_all(persistence: Persistence, place: Place) -> None:
    env = {**persistence.environment(place, system), **place.kafka, "KAFKA_TOPIC_PARTITIONS": "2"}
    with KafkaRunner(system, env, only=["DogSchool"]) as leading:
        school = leading.get(DogSchool)
        for name in ("Billy", "Milly", "Scrappy"):
            school.register_dog(name)
            school.add_trick(name, "roll over")
        leading.wait(SECONDS)
        anyio.run(deleted, KafkaSettings.from_env(env))

        with KafkaRunner(system, env, only=["Counters"]) as following:
            school.add_trick("Billy", "fetch ball")
            following.wait(SECONDS)
            counters = following.get(Counters)
            assert (counters.get_count("roll over"), increments(counters)) == (3, 4)


async def deleted(settings: KafkaSettings) -> None:
    """Delete all that is in the topic."""
    topic = Topics.of(DogSchool.name, settings).events
    await delete_records(settings.bootstrap_servers, topic)
