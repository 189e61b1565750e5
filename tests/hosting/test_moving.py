"""A follower goes on in topics that are others, or are made anew, with what it has applied."""

from pathlib import Path

import anyio
import pytest

from eventsourcing_kafka.compose.runner import KafkaRunner
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from examples.dogschool.application import DogSchool
from tests.chaos.damage import delete_topics
from tests.layers import SERVERS, on

from .nursing import Patient, clinic
from .test_topologies import counts, teach

Env = dict[str, str]


@pytest.fixture(params=[on("Postgres", needs=SERVERS), on("SQLite", needs={"kafka"})])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Env:
    """The settings of a system whose events outlive it."""
    if request.param == "Postgres":
        env: Env = request.getfixturevalue("env")
        return env
    files = {f"{name}_SQLITE_DBNAME": str(tmp_path / name) for name in ("DOGSCHOOL", "PATIENT")}
    kafka_env: Env = request.getfixturevalue("kafka_env")
    return {**kafka_env, **files, "PERSISTENCE_MODULE": "eventsourcing.sqlite"}


def go_on(runner: KafkaRunner) -> None:
    """Have everything applied, and something after it: each trick once."""
    runner.wait()
    assert counts(runner.get(Patient)) == [4, 4, 4]
    runner.get(DogSchool).add_trick("Billy", "beg")
    runner.wait()
    assert runner.get(Patient).count("beg") == 1
    assert counts(runner.get(Patient)) == [4, 4, 4]


def test_a_follower_goes_on_under_another_prefix(stored: Env) -> None:
    with KafkaRunner(clinic, stored) as runner:
        teach(runner.get(DogSchool))
        runner.wait()
    moved = {**stored, "KAFKA_TOPIC_PREFIX": f"v2.{stored['KAFKA_TOPIC_PREFIX']}"}
    with KafkaRunner(clinic, moved) as runner:
        go_on(runner)


def test_a_follower_goes_on_in_topics_that_were_lost_and_published_again(stored: Env) -> None:
    with KafkaRunner(clinic, stored) as runner:
        teach(runner.get(DogSchool))
        runner.wait()
    topics = Topics.of(DogSchool.name, KafkaSettings.from_env(stored))
    lost = [topics.events, topics.position]
    anyio.run(delete_topics, stored["KAFKA_BOOTSTRAP_SERVERS"], lost)
    with KafkaRunner(clinic, stored) as runner:
        go_on(runner)
