"""Whatever runs our loops answers those who watch, and stops as before."""

import signal
import time
from http.client import HTTPConnection
from pathlib import Path
from socket import create_server

import pytest

from eventsourcing_kafka.compose.runner import KafkaRunner
from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.processes import HOST, free_port
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.metrics_server import listen, listen_as_set
from examples.counters.system import system
from examples.dogschool.application import DogSchool
from tests.operations.child import child

from .asking import Told, Watcher


@pytest.mark.usefixtures("programs")
async def test_a_consumer_answers_on_the_port_in_its_environment_until_it_is_told_to_stop(
    environment: dict[str, str], tmp_path: Path
) -> None:
    watcher = Watcher(free_port())
    settings = {**environment, "METRICS_PORT": str(watcher.port), "METRICS_HOST": HOST}
    async with child(
        settings, tmp_path / "log", "consumer", "run", "fts", module="eventsourcing_kafka"
    ) as consumer:
        await watcher.answers()
        assert await watcher.verdict() == (200, ["there is no topic yet"])
        assert (await watcher.told()).figure("view_healthy", view="fts") == 1

        began = time.monotonic()
        consumer.send(signal.SIGTERM)
        assert await consumer.ends() == 0
        assert time.monotonic() - began < 5


def test_a_runner_of_a_system_answers_for_its_leaders_and_followers_in_memory(
    kafka: Kafka, token: str
) -> None:
    port = free_port()
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": f"{token}.",
        "KAFKA_GROUP_PREFIX": f"{token}.",
        "METRICS_PORT": str(port),
        "METRICS_HOST": HOST,
    }
    with KafkaRunner(system, env) as runner:
        school = runner.get(DogSchool)
        school.register_dog("Fido")
        position = school.add_trick("Fido", "roll over")
        runner.wait()
        connection = HTTPConnection(HOST, port, timeout=20)
        connection.request("GET", "/metrics")
        told = Told(connection.getresponse().read().decode())
        connection.close()

    of = {"view": "counters_dogschool"}
    assert told.figure("relay_position", application="DogSchool") == position
    assert told.figure("view_gap", **of) == 0
    assert (told.figure("view_position", **of) or 0) > 0
    assert told.figure("view_healthy", **of) == told.figure("relay_healthy") == 1


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    with create_server((HOST, 0)) as other, pytest.raises(SettingsError) as error:
        listen(other.getsockname()[1], HOST)

    assert "choose another --metrics-port (METRICS_PORT)" in str(error.value)


@pytest.mark.parametrize("port", ["many", "0", "70000"])
def test_a_port_that_is_none_is_an_error_that_names_the_variable(port: str) -> None:
    with pytest.raises(SettingsError, match="METRICS_PORT"):
        listen_as_set({"METRICS_PORT": port})


def test_without_a_port_nobody_is_answered() -> None:
    assert listen_as_set({"METRICS_PORT": "", "METRICS_HOST": "nowhere"}) is None
