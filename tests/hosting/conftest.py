"""One database and one Kafka for all applications of a system."""

from collections.abc import Callable

import pytest

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.stack.stack import postgres_environment


@pytest.fixture
def kafka_env(kafka: Kafka, token: str) -> dict[str, str]:
    """Where Kafka is, for a test that stores elsewhere."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": f"{token}.",
        "KAFKA_GROUP_PREFIX": f"{token}.",
    }


@pytest.fixture
def env(
    kafka_env: dict[str, str], postgres: Postgres, database: Callable[[str], str]
) -> dict[str, str]:
    """The settings of a system that stores in Postgres."""
    return {
        **kafka_env,
        **postgres_environment(postgres, {"SYSTEM": database("system")}),
        "POSTGRES_POOL_SIZE": "1",
    }
