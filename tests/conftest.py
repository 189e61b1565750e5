"""The servers of the whole session, and a fresh place on them for each test."""

import gc
import os
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.stack.sample import APPLICATION
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from eventsourcing_kafka.producer.contentmanagement.domainmodel import user_id_cvar
from tests.layers import QUICK, SERVERS, fixtures_of, layers, watched

NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

QUICK_TO_GIVE_UP = {
    "group.min.session.timeout.ms": "100",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
}

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


@pytest.fixture(autouse=True)
def no_server_is_hidden(request: pytest.FixtureRequest) -> Iterator[None]:
    """No quick test asks for a server that is there for others."""
    yield
    if request.node.get_closest_marker(QUICK) is not None:
        assert SERVERS.isdisjoint(request.fixturenames), "it has to say so by `needs`"


@pytest.fixture(scope="session")
def programs() -> None:
    """Lets a test start programs of its own; it is a slow one then."""


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """Runs the session's servers in a loop and a thread of their own, apart from any test's."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def kafka(portal: BlockingPortal) -> Iterator[Kafka]:
    """A broker for all tests; one that kills its broker starts another."""
    with (
        tempfile.TemporaryDirectory(prefix="kafka-") as folder,
        portal.wrap_async_context_manager(
            Kafka(Path(folder, "data"), properties=QUICK_TO_GIVE_UP)
        ) as kafka,
    ):
        yield kafka


@pytest.fixture(scope="session")
def postgres(portal: BlockingPortal) -> Iterator[Postgres]:
    """A database server for all tests; one that kills its server starts another."""
    with (
        tempfile.TemporaryDirectory(prefix="postgres-") as folder,
        portal.wrap_async_context_manager(
            Postgres(Path(folder, "data"), settings=NOT_DURABLE)
        ) as postgres,
    ):
        yield postgres


@pytest.fixture(autouse=True)
def nobody_is_acting() -> Iterator[None]:
    """No test begins with the user of an earlier one."""
    token = user_id_cvar.set(None)
    yield
    user_id_cvar.reset(token)


@pytest.fixture
def token() -> str:
    """A short name that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def database(
    portal: BlockingPortal, postgres: Postgres, token: str
) -> Iterator[Callable[[str], str]]:
    """Makes an empty database that goes when the test ends; returns its full name."""
    with databases(portal, postgres, token) as make:
        yield make


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


@contextmanager
def databases(
    portal: BlockingPortal, postgres: Postgres, token: str
) -> Iterator[Callable[[str], str]]:
    """Make databases on demand, and drop them at the end."""
    made = []

    def make(name: str) -> str:
        dbname = f"{token}_{name}"
        portal.call(postgres.create_database, dbname)
        made.append(dbname)
        return dbname

    yield make
    for dbname in made:
        portal.call(postgres.drop_database, dbname)


def settings(
    kafka: Kafka, postgres: Postgres, database: Callable[[str], str], token: str
) -> dict[str, str]:
    """Return the settings of a pipeline that has what `token` begins the names of to itself."""
    names = {name.upper(): database(name) for name in ("contentmanagement", "fts", "activity")}
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": f"{token}.",
        "KAFKA_GROUP_PREFIX": f"{token}.",
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
