"""The servers of the whole session, and a fresh place on them for each test."""

import gc
import os
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import psutil
import pytest
from anyio.from_thread import BlockingPortal

from eventsourcing_kafka.compose.servers.cassandra import (
    Cassandra,
    cassandra_environment,
    ready,
)
from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.stack.sample import APPLICATION
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from eventsourcing_kafka.producer.contentmanagement.domainmodel import user_id_cvar
from eventsourcing_kafka.testing.plugin import (
    database,
    databases,
    kafka,
    kafka_settings,
    portal,
    postgres,
    token,
)
from tests.layers import QUICK, SERVERS, fixtures_of, layers, watched

__all__ = ["database", "databases", "kafka", "portal", "postgres", "settings", "token"]

# A broker that lives for a test never earns back what its second compiler takes.
os.environ["JDK_JAVA_OPTIONS"] = "-XX:TieredStopAtLevel=1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its layers."""
    for item in items:
        for layer in layers(fixtures_of(item)):
            item.add_marker(layer)


def pytest_collection_finish() -> None:
    """Look through no module and no test for garbage: they are there until the end."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Hold a quick test to what it is."""
    with watched(item):
        return (yield)


FORGETFUL = {"commitlog_sync": "periodic", "commitlog_sync_period": "10000ms"}

NEEDED_BYTES = 1.5e9
"""Of memory, that Cassandra and what tests it take."""


@pytest.fixture(scope="session")
def cassandra_can_be_had() -> None:
    """Skips a test where Cassandra can't be had, and says why."""
    free = psutil.virtual_memory().available
    if free < NEEDED_BYTES:
        pytest.skip(f"Cassandra needs 1.5 GB of memory, and {free / 1e9:.1f} GB are free")
    try:
        ready()
    except StackError as error:
        pytest.skip(f"Cassandra can't be had here: {error}")


@pytest.fixture(scope="session")
def cassandra(portal: BlockingPortal, cassandra_can_be_had: None) -> Iterator[Cassandra]:
    """A node for all tests that store in Cassandra."""
    with tempfile.TemporaryDirectory(prefix="cassandra-") as folder:
        node = Cassandra(Path(folder, "data"), settings=FORGETFUL)
        with portal.wrap_async_context_manager(node):
            yield node
            portal.call(node.kill)  # To stop in order takes it seconds.


@pytest.fixture(scope="session")
def keyspace(portal: BlockingPortal, cassandra: Cassandra) -> dict[str, str]:
    """The settings of applications in one keyspace: to drop one takes longer than a test does."""
    portal.call(cassandra.create_keyspace, "tests")
    return cassandra_environment(cassandra, "tests")


@pytest.fixture(autouse=True)
def no_server_is_hidden(request: pytest.FixtureRequest) -> Iterator[None]:
    """No quick test asks for a server that is there for others."""
    yield
    if request.node.get_closest_marker(QUICK) is not None:
        assert SERVERS.isdisjoint(request.fixturenames), "it has to say so by `needs`"


@pytest.fixture(scope="session")
def programs() -> None:
    """Lets a test start programs of its own; it is a slow one then."""


@pytest.fixture(autouse=True)
def nobody_is_acting() -> Iterator[None]:
    """No test begins with the user of an earlier one."""
    token = user_id_cvar.set(None)
    yield
    user_id_cvar.reset(token)


@pytest.fixture
def environment(
    kafka: Kafka, postgres: Postgres, database: Callable[[str], str], token: str
) -> dict[str, str]:
    """The settings of a pipeline of this test's own: its databases, its topics, its groups."""
    return settings(kafka, postgres, database, token)


@pytest.fixture(scope="module")
def shared_environment(
    portal: BlockingPortal, kafka: Kafka, postgres: Postgres
) -> Iterator[dict[str, str]]:
    """The same, of a pipeline that all tests of a module share."""
    token = f"m{uuid.uuid4().hex[:10]}"
    with databases(portal, postgres, token) as make:
        yield settings(kafka, postgres, make, token)


def settings(
    kafka: Kafka,
    postgres: Postgres,
    database: Callable[[str], str],
    token: str,
    *,
    views: bool = True,
) -> dict[str, str]:
    """Return the settings of a pipeline that has what `token` begins the names of to itself.

    To make a database costs more than many a test: both views share one, in a schema each, and
    there is none where there are to be no views.
    """
    names = {"CONTENTMANAGEMENT": database("contentmanagement")}
    if views:
        names |= dict.fromkeys(("FTS", "ACTIVITY"), database("views"))
    return {
        **kafka_settings(kafka, token),
        **postgres_environment(postgres, names),
        "APPLICATION_TOPIC": APPLICATION,
    }


@pytest.fixture(scope="session")
def shared_database(portal: BlockingPortal, postgres: Postgres) -> Iterator[str]:
    """One database for all tests that need no Kafka: to make one takes longer than they do."""
    dbname = f"shared_{uuid.uuid4().hex[:10]}"
    portal.call(postgres.create_database, dbname)
    yield dbname
    portal.call(postgres.drop_database, dbname)


@pytest.fixture
def schemas(postgres: Postgres, shared_database: str, token: str) -> dict[str, str]:
    """The settings of views in schemas of this test's own."""
    views = ("FTS", "ACTIVITY")
    return {
        **postgres_environment(postgres, dict.fromkeys(views, shared_database)),
        **{f"{view}_POSTGRES_SCHEMA": f"{token}_{view.lower()}" for view in views},
    }
