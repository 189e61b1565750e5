"""Who may do what: the ACLs of Kafka and the roles of Postgres that the processes need, no more.

A role has the same name in both. For an application `Shop` with a view `orders`: `shop_relay`
publishes what `shop_writer` has written, `orders` keeps the view, and `orders_reader` reads it; a
follower `Packing` is `packing`. A system's process has the roles of all that it runs. As
`shop_history` a process that keeps a view reads from the write model what Kafka has deleted.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import LiteralString, NamedTuple

from eventsourcing.dcb.application import DCBApplication
from eventsourcing.postgres import PostgresFactory
from eventsourcing.utils import Environment
from psycopg import sql

from eventsourcing_kafka.consumer.hosting.systems import Edge
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.relay.publisher import transactional_id
from eventsourcing_kafka.producer.runtime.applications import AnyApplication

ROLE: LiteralString = """
DO $$ BEGIN
    CREATE ROLE {role} LOGIN;
EXCEPTION WHEN duplicate_object THEN
    NULL;
END $$"""

DATABASE: tuple[LiteralString, ...] = (
    "REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC",
    "GRANT CONNECT ON DATABASE {database} TO {role}",
)

# What is stored is never changed: MAINTAIN is for the lock that the library takes to insert.
WRITER: tuple[LiteralString, ...] = (
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT, INSERT, MAINTAIN ON {events} TO {role}",
    "GRANT USAGE ON SEQUENCE {sequence} TO {role}",
)

TAGGED_WRITER: tuple[LiteralString, ...] = (
    *WRITER,
    "GRANT SELECT, INSERT ON {tags} TO {role}",
)

SNAPSHOTS: tuple[LiteralString, ...] = ("GRANT SELECT, INSERT ON {snapshots} TO {role}",)

HISTORY: tuple[LiteralString, ...] = (
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT ON {events} TO {role}",
)

# The turn of a relay is such a lock, which everybody could take. Only a superuser may say so.
NO_LOCKS: LiteralString = """
DO $$ DECLARE locking regprocedure; BEGIN
    FOR locking IN SELECT oid FROM pg_proc
                    WHERE pronamespace = 'pg_catalog'::regnamespace
                      AND proname ~ '^pg_(try_)?advisory_(xact_)?lock(_shared)?$'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', locking);
    END LOOP;
END $$"""
TRY_LOCK: LiteralString = "GRANT EXECUTE ON FUNCTION pg_try_advisory_lock(bigint) TO {role}"
LOCK: LiteralString = "GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO {role}"

RELAY: tuple[LiteralString, ...] = (*HISTORY, NO_LOCKS, TRY_LOCK)

# Of two that make its tables one waits.
VIEW: tuple[LiteralString, ...] = (
    "CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {role}",
    LOCK,
)

# A new generation is a new schema, which gets the name of the old one.
REBUILD: tuple[LiteralString, ...] = ("GRANT CREATE ON DATABASE {database} TO {role}", TRY_LOCK)

# It makes its tables itself, and so owns them.
FOLLOWER: tuple[LiteralString, ...] = (
    LOCK,
    "GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}",
    "CREATE SCHEMA IF NOT EXISTS {edge} AUTHORIZATION {role}",
)

READER: tuple[LiteralString, ...] = (
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT USAGE ON SCHEMAS TO {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO {role}",
)


class Acl(NamedTuple):
    """What a role may do in Kafka."""

    role: str
    operations: tuple[str, ...]
    resources: tuple[tuple[str, str], ...]
    """Kind and name of each: `topic`, `group`, `transactional-id`."""

    def arguments(self) -> list[str]:
        """Return the arguments of the tool `kafka-acls` that grant it."""
        arguments = ["--add", "--force", "--allow-principal", f"User:{self.role}"]
        for operation in self.operations:
            arguments += ["--operation", operation]
        for kind, name in self.resources:
            arguments += [f"--{kind}", name]
        return arguments


class Grant(NamedTuple):
    """A statement of SQL, to be executed in a database by who owns its tables."""

    database: str
    statement: sql.Composed


def acls(
    application: type[AnyApplication],
    views: Collection[View],
    env: Mapping[str, str],
    *,
    edges: Mapping[str, Edge] = MappingProxyType({}),
    rebuild: bool = False,
) -> Iterator[Acl]:
    """Yield what an application's relay, and its own views and followers, need of Kafka."""
    settings = KafkaSettings.from_env(env)
    topics, relay = Topics.of(application.name, settings), _relay(application)
    events, position = ("topic", topics.events), ("topic", topics.position)
    # It reads what it has written: at the ends of both topics it sees where to go on.
    yield Acl(relay, ("Create", "Read", "Write", "DescribeConfigs"), (events, position))
    yield Acl(
        relay, ("Write",), (("transactional-id", transactional_id(application.name, settings)),)
    )
    for view in views:
        schema = _schema(view.name, view.name, env)
        generations = (schema, f"{schema}_next") if rebuild else (schema,)
        groups = (("group", f"{settings.group_prefix}{name}") for name in generations)
        yield Acl(view.name, ("DescribeConfigs",), (events,))  # to say what deletes events
        # The position record tells who waits up to where a view has to come.
        yield Acl(view.name, ("Read",), (events, position, *groups))
    for name, edge in edges.items():
        group = ("group", f"{settings.group_prefix}{name}")
        yield Acl(edge.follower.name.lower(), ("Read",), (events, position, group))


def grants(
    application: type[AnyApplication],
    views: Collection[View],
    env: Mapping[str, str],
    *,
    edges: Mapping[str, Edge] = MappingProxyType({}),
    rebuild: bool = False,
) -> Iterator[Grant]:
    """Yield what an application's writers, its relay, and its views and followers need of Postgres.

    So do those who read the views. The events table must be there, and the databases.
    """
    name, stem = application.name, application.name.lower()
    schema = _schema(name, "public", env)
    writer, names = _writer(application, schema)
    yield from _grants(_database(name, env), f"{stem}_writer", writer, names)
    for statement in _writers_own(application, schema):
        yield Grant(_database(name, env), statement)
    yield from _grants(_database(name, env), _relay(application), RELAY, names)
    yield from _grants(_database(name, env), f"{stem}_history", HISTORY, names)
    for view in views:
        schema = _schema(view.name, view.name, env)
        names = {"schema": sql.Identifier(schema), "owner": sql.Identifier(view.name)}
        owner = VIEW + REBUILD if rebuild else VIEW
        yield from _grants(_database(view.name, env), view.name, owner, names)
        yield from _grants(_database(view.name, env), f"{view.name}_reader", READER, names)
    for edge_name, edge in edges.items():
        follower = edge.follower.name
        if _module(follower, env) == "eventsourcing.postgres":
            names = {
                "schema": sql.Identifier(_schema(follower, "public", env)),
                "edge": sql.Identifier(edge_name),
            }
            yield from _grants(_database(follower, env), follower.lower(), FOLLOWER, names)


def _writer(
    application: type[AnyApplication], schema: str
) -> tuple[tuple[LiteralString, ...], Mapping[str, sql.Composable]]:
    """Return what an application's writers need, and what its tables are called."""
    tables = f"{application.name.lower()}_events"
    if issubclass(application, DCBApplication):
        events, sequence = f"{tables}_tt_main", f"{tables}_tt_main_id_seq"
        writer, others = TAGGED_WRITER, {"tags": sql.Identifier(schema, f"{tables}_tt_tag")}
    else:
        events, sequence = tables, f"{tables}_notification_id_seq"
        snapshots = application.is_snapshotting_enabled or application.snapshotting_intervals
        writer = WRITER + SNAPSHOTS if snapshots else WRITER
        others = {"snapshots": sql.Identifier(schema, f"{application.name.lower()}_snapshots")}
    return writer, {
        "schema": sql.Identifier(schema),
        "events": sql.Identifier(schema, events),
        "sequence": sql.Identifier(schema, sequence),
        **others,
    }


def _writers_own(application: type[AnyApplication], schema: str) -> Iterator[sql.Composed]:
    """Yield what an application says that its writers need besides: `writer_grants`."""
    if of := getattr(application, "writer_grants", None):
        yield from of(schema, f"{application.name.lower()}_writer")


def _grants(
    database: str,
    role: str,
    statements: tuple[LiteralString, ...],
    names: Mapping[str, sql.Composable],
) -> Iterator[Grant]:
    named = {**names, "role": sql.Identifier(role), "database": sql.Identifier(database)}
    for statement in (ROLE, *DATABASE, *statements):
        yield Grant(database, sql.SQL(statement).format(**named))


def as_commands(acls: Iterator[Acl]) -> Iterator[str]:
    """Yield the lines of a shell script."""
    for acl in acls:
        yield shlex.join(["eventsourcing-kafka", "compose", "kafka", "acls", *acl.arguments()])


def as_script(grants: Iterator[Grant]) -> Iterator[str]:
    """Yield the lines of a script of psql's."""
    for database, statements in groupby(grants, key=lambda grant: grant.database):
        yield f"\\connect {sql.Identifier(database).as_string()}"
        for grant in statements:
            yield f"{grant.statement.as_string().strip()};"


def _relay(application: type[AnyApplication]) -> str:
    return f"{application.name.lower()}_relay"


def _database(name: str, env: Mapping[str, str]) -> str:
    return Environment(name, dict(env)).get(PostgresFactory.POSTGRES_DBNAME) or name.lower()


def _module(name: str, env: Mapping[str, str]) -> str:
    settings = Environment(name, {"PERSISTENCE_MODULE": "eventsourcing.postgres", **env})
    return settings.get("PERSISTENCE_MODULE") or ""


def _schema(name: str, default: str, env: Mapping[str, str]) -> str:
    return Environment(name, dict(env)).get(PostgresFactory.POSTGRES_SCHEMA) or default
