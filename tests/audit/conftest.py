"""One wiki for all, written once; a topic for each test of a topic, rows for each of rows."""

import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from anyio.from_thread import BlockingPortal
from psycopg import sql

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from eventsourcing_kafka.testing import plugin

from .audited import PARTITIONS, Audited, Placed, create_topics, written


@pytest.fixture(scope="module")
def databases(portal: BlockingPortal, postgres: Postgres) -> Iterator[Callable[[str], str]]:
    """Makes a database of a name, as the function of the same name does for one test."""
    with plugin.databases(portal, postgres, f"audit_{uuid.uuid4().hex[:8]}") as make:
        yield make


@pytest.fixture(scope="module")
def shared(
    portal: BlockingPortal, kafka: Kafka, postgres: Postgres, databases: Callable[[str], str]
) -> Iterator[Audited]:
    """A wiki that was edited. Nothing is published, and there is no view."""
    prefix = f"t{uuid.uuid4().hex[:10]}."
    names = {"CONTENTMANAGEMENT": databases("wiki")}
    names["FTS"] = names["ACTIVITY"] = databases("views")
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": prefix,
        "KAFKA_GROUP_PREFIX": prefix,
        "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS),
        **postgres_environment(postgres, names),
    }
    with portal.wrap_async_context_manager(written(environment)) as shared:
        yield shared


@pytest.fixture
async def audited(shared: Audited, token: str) -> Audited:
    """The wiki, and an empty topic."""
    audited = Audited({**shared.environment, "KAFKA_TOPIC_PREFIX": f"{token}."}, shared.wiki)
    await create_topics(audited)
    return audited


@pytest.fixture
async def fresh(audited: Audited, database: Callable[[str], str], token: str) -> Audited:
    """The wiki, an empty topic, and no views yet."""
    names = dict.fromkeys(("FTS_POSTGRES_DBNAME", "ACTIVITY_POSTGRES_DBNAME"), database("views"))
    return Audited(
        {**audited.environment, **names, "KAFKA_GROUP_PREFIX": f"{token}."}, audited.wiki
    )


@pytest.fixture
def placed(audited: Audited) -> list[Placed]:
    """What a relay would publish of the wiki."""
    return list(audited.placed())


@pytest.fixture(scope="module")
def applied(portal: BlockingPortal, shared: Audited) -> Audited:
    """The wiki, published and applied: no test changes it."""
    portal.call(create_topics, shared)
    portal.call(shared.publish, list(shared.placed()))
    portal.call(shared.apply)
    return shared


@pytest.fixture
def viewed(applied: Audited, postgres: Postgres, token: str) -> Iterator[Audited]:
    """The wiki, published and applied, with rows of this test's own."""
    copy, original = sql.Identifier(token), applied.environment["FTS_POSTGRES_DBNAME"]
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                copy, sql.Identifier(original)
            )
        )
        names = dict.fromkeys(("FTS_POSTGRES_DBNAME", "ACTIVITY_POSTGRES_DBNAME"), token)
        yield Audited({**applied.environment, **names}, applied.wiki)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(copy))
