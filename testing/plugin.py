"""Fixtures of pytest: embedded servers for the session, and what each test has for itself.

    pytest_plugins = ["eventsourcing_kafka.testing.plugin"]

A server starts when the first test asks for it. They are as forgetful as servers may be, and keep
their data in memory where there is room for it, unless TMPDIR names another place.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.servers.processes import LOCK_FILE, remove_ownerless
from eventsourcing_kafka.compose.stack.stack import postgres_environment

NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # Each connection would work for milliseconds to protect a password that lives for a session.
    "scram_iterations": "1",
}

QUICK_TO_GIVE_UP = {
    "group.min.session.timeout.ms": "100",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
}


MEMORY = Path("/dev/shm")  # noqa: S108 - what is made in it has a name that nobody knows
ROOM = 2 << 30
"""Bytes. The servers of one session take 200 MB."""
PREFIX, DATA = "eventsourcing-kafka-test-", "data"


def roomy_memory() -> Path | None:
    """Return the folder of files in memory; None if it has no room, or another one was asked for.

    A database is 300 files. On a disk to make and drop one takes twice as long, and more where a
    file system looks for a place among those that have just gone.
    """
    if not any(map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))):
        with suppress(OSError):
            free = min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available)
            return MEMORY if free >= ROOM and os.access(MEMORY, os.W_OK) else None
    return None


@contextmanager
def server_folder(name: str) -> Iterator[Path]:
    """Make a folder for a server's data, and remove those that killed sessions have left."""
    on_disk = Path(tempfile.gettempdir())
    for folder in (*MEMORY.glob(f"{PREFIX}*"), *on_disk.glob(f"{PREFIX}*")):
        with suppress(OSError):  # Another session makes it, or removes it.
            if folder.lstat().st_uid == os.getuid() and (folder / DATA / LOCK_FILE).read_text():
                remove_ownerless(folder / DATA)
                folder.rmdir()
    parent = roomy_memory() or on_disk
    prefix = f"{PREFIX}{name}-"
    with tempfile.TemporaryDirectory(
        prefix=prefix,
        dir=parent,
        ignore_cleanup_errors=True,  # Another session removes it, too.
    ) as made:
        yield Path(made, DATA)


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """Runs the session's servers in a loop and a thread of their own, apart from any test's."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def kafka(portal: BlockingPortal) -> Iterator[Kafka]:
    """A broker for all tests; one that kills its broker starts another."""
    with (
        server_folder("kafka") as folder,
        portal.wrap_async_context_manager(Kafka(folder, properties=QUICK_TO_GIVE_UP)) as kafka,
    ):
        yield kafka


@pytest.fixture(scope="session")
def postgres(portal: BlockingPortal) -> Iterator[Postgres]:
    """A database server for all tests; one that kills its server starts another."""
    with (
        server_folder("postgres") as folder,
        portal.wrap_async_context_manager(Postgres(folder, settings=NOT_DURABLE)) as postgres,
    ):
        yield postgres


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
def database_settings(postgres: Postgres, database: Callable[[str], str]) -> dict[str, str]:
    """The settings of applications and views in one empty database of this test's own."""
    return postgres_environment(postgres, {"VIEWS": database("views")})


@pytest.fixture
def environment(kafka: Kafka, database_settings: dict[str, str], token: str) -> dict[str, str]:
    """The settings of a pipeline of this test's own: a database, topics, and groups."""
    return {**database_settings, **kafka_settings(kafka, token)}


def kafka_settings(kafka: Kafka, token: str) -> dict[str, str]:
    """Return the settings with which the names of all topics and groups begin with a token."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": f"{token}.",
        "KAFKA_GROUP_PREFIX": f"{token}.",
    }


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
