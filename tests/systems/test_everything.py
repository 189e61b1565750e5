"""Everything in one application, and a census of its aggregates, whatever runs the system."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

import psycopg
import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.cipher import AESCipher
from eventsourcing.persistence import IntegrityError, MapperDeserialisationError
from eventsourcing.system import Runner
from eventsourcing.utils import get_topic
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from tests.systems.census.application import Census
from tests.systems.census.system import system
from tests.systems.everything.application import EverythingApplication
from tests.systems.everything.domainmodel import DiscardedError, ExampleAggregateRoot

from .running import Settle
from .staging import Stage, over
from .storing import (
    CASSANDRA_AND_POSTGRES,
    POSTGRES,
    SQLALCHEMY_POSTGRES,
    SQLALCHEMY_SQLITE,
    SQLITE_FILES,
    SQLITE_MEMORY,
    SQLITE_SHARED,
    Place,
)

SECRET_SQLITE_FILES = SQLITE_FILES.encrypted()
SECRET_POSTGRES = POSTGRES.encrypted()
STORES = [
    SQLITE_MEMORY.encrypted(),
    SQLITE_SHARED.encrypted(),
    SECRET_SQLITE_FILES,
    SECRET_POSTGRES,
]

SQLALCHEMY = [SQLALCHEMY_SQLITE, SQLALCHEMY_POSTGRES]

SECRET = "secret info"


def play(runner: Runner[UUID], settle: Settle) -> None:
    """Live through everything, and take a census now and then."""
    app, census = runner.get(EverythingApplication), runner.get(Census)

    living = {keep_a_secret(app), save_a_cluster_as_a_batch(app)}
    settle(runner)
    assert set(census.get_living()) == living

    living.add(control_concurrency(app))
    short_lived = take_snapshots(app)
    settle(runner)
    assert set(census.get_living()) == living | {short_lived}

    discard(app, short_lived)
    remember(app, short_lived)
    settle(runner)
    assert set(census.get_living()) == living


def keep_a_secret(app: EverythingApplication) -> UUID:
    aggregate = ExampleAggregateRoot(foo=SECRET)
    app.save(aggregate)
    aggregate.foo = f"still {SECRET}"
    app.save(aggregate)

    stored = [*app.recorder.select_events(aggregate.id), *stored_snapshots(app, aggregate.id)]
    assert len(stored) == 3
    assert not any(SECRET.encode() in record.state for record in stored)

    assert SECRET in app.get_example_aggregate(aggregate.id).foo
    return aggregate.id


def save_a_cluster_as_a_batch(app: EverythingApplication) -> UUID:
    aggregate = ExampleAggregateRoot(foo="root")
    example_ids = [aggregate.create_new_example() for _ in range(3)]
    assert len(set(example_ids)) == aggregate.count_examples() == 3

    positions = [recording.notification.id for recording in app.save(aggregate)]
    assert len(positions) == 4
    assert positions == list(range(positions[0], positions[0] + 4))
    assert app.get_example_aggregate(aggregate.id).count_examples() == 3
    assert app.get_example_aggregate(aggregate.id, version=2).count_examples() == 1
    return aggregate.id


def control_concurrency(app: EverythingApplication) -> UUID:
    aggregate = ExampleAggregateRoot(foo="bar1")
    aggregate.create_new_example()
    app.save(aggregate)
    assert app.get_example_aggregate(aggregate.id).foo == "bar1"

    a = app.get_example_aggregate(aggregate.id)
    b = app.get_example_aggregate(aggregate.id)
    a.foo = "bar2"
    app.save(a)
    assert app.get_example_aggregate(aggregate.id).foo == "bar2"

    # The other copy has lost, and so has whatever was to be saved with it.
    newcomer = ExampleAggregateRoot(foo="with b or not at all")
    b.foo = "bar3"
    with pytest.raises(IntegrityError):
        app.save(newcomer, b)
    assert app.get_example_aggregate(aggregate.id).foo == "bar2"
    assert newcomer.id not in app.repository

    b = app.get_example_aggregate(aggregate.id)
    assert b.foo == "bar2"
    b.foo = "bar3"
    app.save(b)
    assert app.get_example_aggregate(aggregate.id).foo == "bar3"

    a.foo = "bar4"
    with pytest.raises(IntegrityError):
        app.save(a)
    assert app.get_example_aggregate(aggregate.id).foo == "bar3"
    assert app.get_example_aggregate(aggregate.id).count_examples() == 1
    return aggregate.id


def take_snapshots(app: EverythingApplication) -> UUID:
    aggregate = ExampleAggregateRoot(foo="bar1")
    app.save(aggregate)
    assert app.get_snapshot(aggregate.id) is None

    aggregate.foo = "bar2"
    app.save(aggregate)
    assert foo_in_snapshot(app, aggregate.id) == "bar2"
    assert aggregate.id in app.repository
    assert app.get_example_aggregate(aggregate.id).foo == "bar2"

    aggregate.foo = "bar3"
    aggregate.foo = "bar4"
    aggregate.foo = "bar5"
    app.save(aggregate)
    assert foo_in_snapshot(app, aggregate.id) == "bar4"

    aggregate.foo = "bar6"
    aggregate.foo = "bar7"
    app.save(aggregate)
    assert app.get_example_aggregate(aggregate.id).foo == "bar7"
    assert foo_in_snapshot(app, aggregate.id) == "bar6"
    return aggregate.id


def discard(app: EverythingApplication, aggregate_id: UUID) -> None:
    aggregate = app.get_example_aggregate(aggregate_id)
    aggregate.discard()
    app.save(aggregate)
    assert aggregate_id not in app.repository
    with pytest.raises(AggregateNotFoundError):
        app.get_example_aggregate(aggregate_id)

    snapshot = app.get_snapshot(aggregate_id)
    assert snapshot is not None
    assert (snapshot.originator_version, snapshot.state) == (8, None)

    with pytest.raises(DiscardedError):
        aggregate.foo = "bar8"
    with pytest.raises(DiscardedError):
        aggregate.create_new_example()


def remember(app: EverythingApplication, aggregate_id: UUID) -> None:
    for version, (found, foo) in {3: (2, "bar2"), 4: (4, "bar4"), 7: (6, "bar6")}.items():
        snapshot = app.get_snapshot(aggregate_id, version)
        assert snapshot is not None
        assert (snapshot.originator_version, snapshot.state["_foo"]) == (found, foo)
    assert app.get_snapshot(aggregate_id, version=1) is None

    for version in range(1, 8):
        past = app.get_example_aggregate(aggregate_id, version)
        assert (past.version, past.foo) == (version, f"bar{version}")
    with pytest.raises(AggregateNotFoundError):
        app.get_example_aggregate(aggregate_id, version=8)


def foo_in_snapshot(app: EverythingApplication, aggregate_id: UUID) -> str:
    snapshot = app.get_snapshot(aggregate_id)
    assert snapshot is not None
    foo: str = snapshot.state["_foo"]
    return foo


def stored_snapshots(app: EverythingApplication, aggregate_id: UUID) -> Iterable[Any]:
    assert app.snapshots is not None
    return app.snapshots.recorder.select_events(aggregate_id)


@over(STORES)
def test_everything_works_at_once(stage: Stage) -> None:
    with stage.run(system) as runner:
        play(runner, stage.settle)


@over([SECRET_SQLITE_FILES, SECRET_POSTGRES, *SQLALCHEMY, CASSANDRA_AND_POSTGRES])
def test_the_census_goes_on_when_the_system_is_reopened(stage: Stage) -> None:
    with stage.run(system) as runner:
        play(runner, stage.settle)
        living = set(runner.get(Census).get_living())

    with stage.run(system) as runner:
        app = runner.get(EverythingApplication)
        newborn = ExampleAggregateRoot(foo="late")
        dying = app.get_example_aggregate(living.pop())
        dying.discard()
        app.save(newborn, dying)
        stage.settle(runner)
        assert set(runner.get(Census).get_living()) == living | {newborn.id}


@over([SECRET_SQLITE_FILES])
def test_the_secret_is_nowhere_in_the_files(stage: Stage, place: Place) -> None:
    with stage.run(system) as runner:
        keep_a_secret(runner.get(EverythingApplication))
        stage.settle(runner)

    texts = []
    for file in place.folder.glob("*.sqlite"):
        with sqlite3.connect(file) as connection:
            texts += list(connection.iterdump())
        connection.close()
    assert_kept_secret("\n".join(texts))


@over([SECRET_POSTGRES])
def test_the_secret_is_nowhere_in_the_database(stage: Stage, place: Place) -> None:
    with stage.run(system) as runner:
        keep_a_secret(runner.get(EverythingApplication))
        stage.settle(runner)

    assert_kept_secret("\n".join(rows_of(place.postgres)))


def rows_of(env: Mapping[str, str]) -> Iterator[str]:
    """Yield every row of a Postgres database as text."""
    names = {"dbname": "DBNAME", "host": "HOST", "port": "PORT", "user": "USER"}
    server = {name: env[f"POSTGRES_{variable}"] for name, variable in names.items()}
    conninfo = make_conninfo(**server, password=env["POSTGRES_PASSWORD"])
    with psycopg.connect(conninfo, autocommit=True) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in tables.fetchall():
            rows = connection.execute(SQL("SELECT t::text FROM {} AS t").format(Identifier(table)))
            yield from (row for (row,) in rows)


def assert_kept_secret(dump: str) -> None:
    """Look for the secret in what a database has, as text and as the digits of bytes."""
    assert get_topic(ExampleAggregateRoot.Created) in dump
    assert SECRET not in dump
    assert SECRET.encode().hex() not in dump.lower()


def test_nothing_is_ever_stored_without_a_key() -> None:
    with pytest.raises(OSError, match="CIPHER_KEY"):
        EverythingApplication()
    with pytest.raises(OSError, match="CIPHER_KEY"):
        Census()


@over([SECRET_SQLITE_FILES])
def test_nothing_is_read_with_another_key(stage: Stage) -> None:
    with stage.run(system) as runner:
        secret_id = keep_a_secret(runner.get(EverythingApplication))
        stage.settle(runner)

    another = {"EVERYTHINGAPPLICATION_CIPHER_KEY": AESCipher.create_key(num_bytes=32)}
    env = {**stage.environment(system), **another}
    with EverythingApplication(env) as app, pytest.raises(MapperDeserialisationError):
        app.get_example_aggregate(secret_id)


@over([SQLITE_MEMORY.encrypted(), SECRET_POSTGRES])
def test_a_cluster_comes_back_whole_from_a_snapshot(stage: Stage) -> None:
    with stage.run(system) as runner:
        app = runner.get(EverythingApplication)
        aggregate = ExampleAggregateRoot(foo="root")
        example_id = aggregate.create_new_example()
        app.save(aggregate)

        snapshot = app.get_snapshot(aggregate.id)
        assert snapshot is not None
        assert list(snapshot.state["_examples"]) == [str(example_id)]
        assert snapshot.mutate(None) == aggregate == app.get_example_aggregate(aggregate.id)


def test_the_system_is_named_by_its_place_in_a_module() -> None:
    assert system.edges == [("EverythingApplication", "Census")]
    assert system.topic == "tests.systems.census.system:system"
