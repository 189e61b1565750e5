"""The courses, on a database and topics of a test's own."""

from collections.abc import Callable

import pytest

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from eventsourcing_kafka.testing.plugin import kafka_settings

TAGGED_POSTGRES = "eventsourcing.dcb.postgres_tt"


@pytest.fixture
def courses_settings(postgres: Postgres, database: Callable[[str], str]) -> dict[str, str]:
    """The settings of the application, and of what follows it, in one database."""
    return {
        **postgres_environment(postgres, {"COURSES": database("courses")}),
        "COURSES_PERSISTENCE_MODULE": TAGGED_POSTGRES,
    }


@pytest.fixture
def courses_environment(
    kafka: Kafka, courses_settings: dict[str, str], token: str
) -> dict[str, str]:
    """The same, and Kafka."""
    return {**courses_settings, **kafka_settings(kafka, token)}
