"""A place for each test, and the stage that is set there."""

from pathlib import Path

import pytest

from eventsourcing_kafka.compose.servers.cassandra import Cassandra, cassandra_environment
from eventsourcing_kafka.compose.stack.stack import postgres_environment

from .running import Running
from .staging import Stage
from .storing import Persistence, Place


@pytest.fixture
def place(token: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Starts the servers only for who asks for them."""

    def make_postgres() -> dict[str, str]:
        database, server = map(request.getfixturevalue, ("database", "postgres"))
        small = {"POSTGRES_POOL_SIZE": "1"}  # More are opened when they are needed.
        return {**postgres_environment(server, {"SYSTEM": database("system")}), **small}

    def make_kafka() -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": request.getfixturevalue("kafka").bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": f"{token}.",
            "KAFKA_GROUP_PREFIX": f"{token}.",
        }

    def make_cassandra() -> dict[str, str]:
        node: Cassandra = request.getfixturevalue("cassandra")
        request.getfixturevalue("portal").call(node.create_keyspace, token)
        return cassandra_environment(node, token)

    return Place(token, tmp_path, make_postgres, make_kafka, make_cassandra)


@pytest.fixture
def stage(running: Running, persistence: Persistence, place: Place) -> Stage:
    return Stage(running, persistence, place)
