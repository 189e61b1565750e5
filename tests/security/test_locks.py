"""Both servers behind locks: who may do what, and what happens to everybody else."""

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID, uuid4

import anyio
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from anyio import to_thread
from eventsourcing.persistence import PersistenceError

from eventsourcing_kafka.compose.servers.processes import HOST
from eventsourcing_kafka.consumer.engine.parking import Parked
from eventsourcing_kafka.consumer.engine.store import ViewMissingError, ViewStore
from eventsourcing_kafka.consumer.operations.redrive import parked_events
from eventsourcing_kafka.consumer.views import activity, fts
from eventsourcing_kafka.consumer.views.activity.queries import pages as edited_pages
from eventsourcing_kafka.consumer.views.fts.search import search
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.relay import prepare_topics
from eventsourcing_kafka.producer.runtime.applications import open_application
from eventsourcing_kafka.producer.runtime.construct import construct
from eventsourcing_kafka.producer.runtime.secrets import with_password_files
from eventsourcing_kafka.producer.wire import Record
from eventsourcing_kafka.producer.wire.chain import IDENTITY_CHARACTERS
from tests.pipeline import ROOT, SECONDS, until, write_page
from tests.wire.test_reading import FORGED

from .locked import (
    ADMIN,
    HISTORY,
    PASSWORD,
    PASSWORD_IN_KAFKA,
    PLAIN_PASSWORD,
    PLAIN_USER,
    RELAY,
    ROLES,
    WRITER,
    Certificates,
    Locked,
    run,
)
from .tokens import SECRET, token_endpoint

EVENTS, POSITION = "contentmanagement.events", "contentmanagement.position"


@pytest.fixture
def stack(stack: Locked, monkeypatch: pytest.MonkeyPatch) -> Locked:
    """The servers, with what libpq takes from the process's own environment."""
    for name in ("PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.setenv(name, stack.common[name])
    return stack


@asynccontextmanager
async def running(stack: Locked, role: str, *command: str, **changed: str) -> AsyncIterator[None]:
    """Run a process of ours as a role, by settings alone; it must be there to the end."""
    process = await anyio.open_process(
        [str(ROOT / ".venv/bin/eventsourcing-kafka"), *command],
        cwd=ROOT,
        env={**os.environ, **stack.settings(role), **changed},
        stdout=None,
        stderr=None,
    )
    try:
        yield
        assert process.returncode is None
    finally:
        with anyio.CancelScope(shield=True), suppress(ProcessLookupError):
            process.terminate()
            await process.wait()


@asynccontextmanager
async def pipeline(stack: Locked) -> AsyncIterator[None]:
    """Run the relay and both views, each with its own rights."""
    async with (
        running(stack, RELAY, "producer", "relay"),
        running(stack, "fts", "consumer", "run", "fts"),
        running(stack, "activity", "consumer", "run", "activity"),
    ):
        yield


async def written(stack: Locked, slug: str, *bodies: str) -> None:
    """Write a page as the writer, and wait until both views have it, and a searcher finds it."""

    def write() -> tuple[int, UUID]:
        with open_application(ContentManagement, stack.settings(WRITER)) as wiki:
            page = write_page(wiki, slug, *bodies)
            (last,) = wiki.recorder.select_notifications(
                start=wiki.recorder.max_notification_id(), limit=1
            )
            assert last.originator_id == page
            return last.id, page

    position, page = await to_thread.run_sync(write)
    for view in (activity.VIEW, fts.VIEW):
        store = ViewStore.of(view, stack.settings(f"{view.name}_reader"))
        await store.wait(position, page, seconds=SECONDS)
    assert [found.id for found in await search(store, bodies[-1])] == [page]


def kafka(stack: Locked, role: str, **changed: str) -> dict[str, Any]:
    """Return how a role connects to Kafka."""
    return KafkaSettings.from_env({**stack.settings(role), **changed}).client()


async def topics_are_made(stack: Locked) -> None:
    """Have the topics there, as the relay makes them when it first starts."""
    settings = KafkaSettings.from_env(stack.settings(RELAY))
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        await prepare_topics(admin, Topics.of(ContentManagement.name, settings), settings)


async def list_topics(environment: Mapping[str, str]) -> list[str]:
    arguments = KafkaSettings.from_env(environment).client()
    async with started(AIOKafkaAdminClient(**arguments)) as admin:
        return sorted(await admin.list_topics())


async def publish(
    stack: Locked, role: str, topic: str, *records: Record, partition: int | None = None
) -> None:
    """Publish records as anybody could who may write."""
    async with started(AIOKafkaProducer(**kafka(stack, role))) as producer:
        for key, value, headers, *_ in records:
            await producer.send_and_wait(
                topic, value, key=key, partition=partition, headers=headers
            )


async def join(stack: Locked, role: str, group: str) -> None:
    consumer = AIOKafkaConsumer(EVENTS, group_id=group, **kafka(stack, role))
    async with started(consumer):
        await consumer.getmany(timeout_ms=2000)


async def transact(stack: Locked, role: str) -> None:
    producer = AIOKafkaProducer(transactional_id="contentmanagement.relay", **kafka(stack, role))
    async with started(producer):
        pass


async def execute(stack: Locked, role: str, database: str, statement: LiteralString) -> None:
    async with await psycopg.AsyncConnection.connect(
        host=HOST,
        port=stack.postgres_port,
        user=role,
        password=PASSWORD,
        dbname=database,
    ) as connection:
        await connection.execute(statement)


async def test_the_pipeline_runs_end_to_end_with_the_least_of_rights(stack: Locked) -> None:
    async with pipeline(stack):
        await written(stack, "roses", "red\n", "white\n")
        store = ViewStore.of(activity.VIEW, stack.settings("activity_reader"))

        async def counted() -> bool:
            with suppress(ViewMissingError):
                pages = await edited_pages(store, 10)
                return [page.edits for page in pages if page.slug == "roses"] == [3]
            return False

        await until(counted)


async def test_a_view_reads_what_kafka_has_deleted_as_a_role_that_may_only_read(
    stack: Locked,
) -> None:
    async with pipeline(stack):
        await written(stack, "alps", "gentian\n")
    async with started(AIOKafkaConsumer(**kafka(stack, ADMIN))) as consumer:
        ends = await consumer.end_offsets([TopicPartition(EVENTS, number) for number in (0, 1)])
    async with started(AIOKafkaAdminClient(**kafka(stack, ADMIN))) as admin:
        await admin.delete_records({each: RecordsToDelete(end) for each, end in ends.items()})
    await run("eventsourcing-kafka consumer replay fts --yes", stack.settings("fts"))
    store = ViewStore.of(fts.VIEW, stack.settings("fts_reader"))
    assert await search(store, "gentian") == []

    async def has_all() -> bool:
        async with store.connected() as connection:
            at = await store.tracking.offsets(connection)
        return at == {number: end for (_, number), end in ends.items()}

    # Until it is in Kafka again: the next to run it has no right to read the write model.
    role = {"CONTENTMANAGEMENT_POSTGRES_USER": HISTORY}
    async with running(stack, "fts", "consumer", "run", "fts", **role):
        await until(has_all)
    assert await search(store, "gentian")


def forged(position: int, **headers: str | None) -> Record:
    """Return a record of an aggregate that nobody has: one of the relay's, but for `headers`."""
    key = str(uuid4())
    usual = {
        "ce_specversion": "1.0",
        "ce_type": "Page.Created",
        "ce_source": "/ContentManagement",
        "ce_id": f"{key}:1",
        "ce_subject": key,
        "ce_sequence": "1",
        "ce_position": str(position),
        "ce_identity": "0" * IDENTITY_CHARACTERS,
        "ce_predecessor": "0",
    }
    usual["ce_storedtopic"] = f"exploit:{headers.get('ce_type', usual['ce_type'])}"
    usual["content-type"] = "application/json"
    named = {**usual, **headers}.items()
    return Record(
        key.encode(),
        b"{}",
        [(name, value.encode()) for name, value in named if value],
        None,
        position,
        b"0" * IDENTITY_CHARACTERS,
    )


async def parked(stack: Locked, count: int) -> list[Parked]:
    """Wait until so many events are parked in the search view."""
    store = ViewStore.of(fts.VIEW, stack.settings("fts"))

    async def are_parked() -> bool:
        return len(await parked_events(store)) >= count

    await until(are_parked)
    return list(await parked_events(store))


async def test_what_is_not_the_relays_imports_nothing_and_is_parked(
    stack: Locked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = tmp_path / "imported"
    (tmp_path / "exploit.py").write_text(f"open({str(imported)!r}, 'w').close()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    malformed = {
        "ce_sequence": [None, "", "-1", "1.0", "0x1", "9" * 30],
        "ce_position": [None, "", "-1", "one", "9" * 30],
        "ce_source": [None, "/Another"],
        "ce_subject": [None, "another"],
    }
    records = [forged(10**6, ce_type=name, ce_identity="none") for name in FORGED]
    records += [
        forged(10**6, **{name: value}) for name, values in malformed.items() for value in values
    ]
    doubled = forged(10**6)
    records.append(doubled._replace(headers=[*doubled.headers, ("ce_sequence", b"2")]))
    misplaced = forged(10**6)

    async with pipeline(stack):
        await written(stack, "before", "violets\n")
        before = len(await parked(stack, 0))
        await publish(stack, ADMIN, EVENTS, *records)
        await publish(stack, ADMIN, EVENTS, misplaced, partition=1 - partition_of(misplaced.key, 2))
        set_aside = (await parked(stack, before + len(records) + 1))[before:]
        await written(stack, "after", "lilies\n")

    assert {event.key for event in set_aside} == {record.key for record in [*records, misplaced]}
    (why,) = (event.reason for event in set_aside if event.key == misplaced.key)
    assert "its key belongs in" in why
    assert not imported.exists()


REFUSED_BY_POSTGRES: list[tuple[str, str, LiteralString]] = [
    (RELAY, "contentmanagement", "DELETE FROM contentmanagement_events"),
    (RELAY, "contentmanagement", "LOCK TABLE contentmanagement_events"),
    (RELAY, "contentmanagement", "CREATE TABLE mine (id integer)"),
    (RELAY, "contentmanagement", "CREATE TEMPORARY TABLE mine (id integer)"),
    (RELAY, "fts", "SELECT 1"),
    (HISTORY, "contentmanagement", "INSERT INTO contentmanagement_events DEFAULT VALUES"),
    (HISTORY, "contentmanagement", "LOCK TABLE contentmanagement_events IN ROW EXCLUSIVE MODE"),
    (HISTORY, "contentmanagement", "SELECT FROM contentmanagement_events FOR KEY SHARE"),
    (HISTORY, "contentmanagement", "SELECT FROM contentmanagement_people"),
    (HISTORY, "contentmanagement", "SELECT pg_advisory_lock(1)"),
    (HISTORY, "contentmanagement", "SELECT pg_try_advisory_lock(1)"),
    (HISTORY, "contentmanagement", "SELECT pg_try_advisory_xact_lock_shared(1, 1)"),
    (HISTORY, "fts", "SELECT 1"),
    (WRITER, "contentmanagement", "SELECT pg_advisory_xact_lock(1)"),
    (WRITER, "contentmanagement", "UPDATE contentmanagement_events SET topic = 'os:system'"),
    (WRITER, "contentmanagement", "TRUNCATE contentmanagement_events"),
    (WRITER, "fts", "SELECT 1"),
    ("fts", "contentmanagement", "SELECT 1"),
    ("fts", "activity", "SELECT 1"),
    ("fts", "fts", "CREATE SCHEMA mine"),
    ("fts", "fts", "COPY fts.pages TO PROGRAM 'true'"),
    ("fts_reader", "fts", "DELETE FROM fts.pages"),
    ("fts_reader", "fts", "UPDATE fts.tracking SET position = 0"),
    ("fts_reader", "fts", "CREATE TABLE fts.mine (id integer)"),
    ("fts_reader", "contentmanagement", "SELECT 1"),
    ("activity_reader", "fts", "SELECT 1"),
]


@pytest.mark.parametrize(("role", "database", "statement"), REFUSED_BY_POSTGRES)
async def test_postgres_refuses_a_role_what_it_must_not_do(
    stack: Locked, role: str, database: str, statement: LiteralString
) -> None:
    with pytest.raises(psycopg.Error, match="permission denied"):
        await execute(stack, role, database, statement)


async def test_kafka_refuses_a_role_what_it_must_not_do(stack: Locked) -> None:
    await topics_are_made(stack)
    # Who does not see a topic can neither read nor write it.
    seen = {role: set(await list_topics(stack.settings(role))) for role in ROLES}
    assert seen == {
        RELAY: {EVENTS, POSITION},
        "fts": {EVENTS, POSITION},
        "activity": {EVENTS, POSITION},
        WRITER: set(),
        HISTORY: set(),
        "fts_reader": set(),
        "activity_reader": set(),
    }
    for role in ("fts", "activity"):
        with pytest.raises(TopicAuthorizationFailedError):
            await publish(stack, role, EVENTS, forged(1))
    for role in ("fts", WRITER, "fts_reader"):
        with pytest.raises(TransactionalIdAuthorizationFailed):
            await transact(stack, role)
    for role, group in (("fts", "activity"), ("activity", "fts"), (RELAY, "fts")):
        with pytest.raises(GroupAuthorizationFailedError):
            await join(stack, role, group)


async def test_a_server_with_a_wrong_certificate_is_refused(stack: Locked, tmp_path: Path) -> None:
    settings = stack.settings(RELAY)
    other = str(Certificates(tmp_path).authority)
    by_name = settings["KAFKA_BOOTSTRAP_SERVERS"].replace(HOST, "localhost")

    with pytest.raises(KafkaConnectionError, match="certificate verify failed"):
        await list_topics({**settings, "KAFKA_SSL_CAFILE": other})
    with pytest.raises(KafkaConnectionError, match="Hostname mismatch"):
        await list_topics({**settings, "KAFKA_BOOTSTRAP_SERVERS": by_name})


@pytest.mark.parametrize("changed", ["authority", "host", "no TLS"])
async def test_a_database_with_a_wrong_certificate_or_none_is_refused(
    stack: Locked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    settings = stack.settings("fts")
    match changed:
        case "authority":
            monkeypatch.setenv("PGSSLROOTCERT", str(Certificates(tmp_path).authority))
            why = "certificate verify failed"
        case "host":
            settings["POSTGRES_HOST"] = "localhost"
            why = "does not match host name"
        case _:
            settings["POSTGRES_PORT"] = str(stack.postgres.port)
            why = "server does not support SSL"

    with pytest.raises(psycopg.OperationalError, match=why):
        async with ViewStore.of(fts.VIEW, settings).connected():
            pass


async def test_the_librarys_own_recorder_refuses_a_wrong_certificate_too(
    stack: Locked,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", str(Certificates(tmp_path).authority))
    caplog.set_level(logging.WARNING, "psycopg.pool")  # The library keeps the reason to itself.
    settings = {**stack.settings(WRITER), "POSTGRES_CONNECT_TIMEOUT": "1"}

    def read() -> None:
        with construct(ContentManagement, with_password_files(settings)) as wiki:
            wiki.recorder.max_notification_id()

    with pytest.raises(PersistenceError, match="couldn't get a connection"):
        await to_thread.run_sync(read)
    assert "certificate verify failed" in caplog.text


async def test_a_wrong_password_is_said(stack: Locked) -> None:
    wrong = {**stack.settings(RELAY), "KAFKA_SASL_PASSWORD_FILE": stack.file("wrong", "wrong")}

    with pytest.raises(KafkaConnectionError, match="invalid credentials") as refused:
        await list_topics(wrong)
    assert str(refused.value).startswith(f"Kafka at {stack.kafka.bootstrap_servers}: ")
    assert "kafka-password" not in str(refused.value)


async def test_who_comes_without_a_certificate_or_a_password_is_refused(stack: Locked) -> None:
    nobody = {**stack.settings(RELAY), "KAFKA_SASL_MECHANISM": "", "KAFKA_SECURITY_PROTOCOL": "SSL"}

    with pytest.raises(KafkaError):
        await list_topics(nobody)
    with pytest.raises(KafkaError):
        await list_topics({**nobody, "KAFKA_BOOTSTRAP_SERVERS": stack.by_certificate})


async def test_a_certificate_is_a_name_too(stack: Locked) -> None:
    certificate, key = stack.certificates.of("fts", "fts.example.org")
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.by_certificate,
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CAFILE": str(stack.certificates.authority),
        "KAFKA_SSL_CERTFILE": str(certificate),
        "KAFKA_SSL_KEYFILE": str(key),
    }

    await topics_are_made(stack)
    assert await list_topics(settings) == [EVENTS, POSITION]
    assert EVENTS in await run("eventsourcing-kafka compose kafka topics --list", settings)


async def test_scram_with_the_shorter_hash_and_plain_let_in_as_well(stack: Locked) -> None:
    shorter = {**stack.settings("fts"), "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"}
    plain = {
        **stack.settings(PLAIN_USER),
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_PASSWORD_FILE": "",
        "KAFKA_SASL_PASSWORD": PLAIN_PASSWORD,
    }

    await topics_are_made(stack)
    assert await list_topics(shorter) == [EVENTS, POSITION]
    assert await list_topics(plain) == []
    with pytest.raises(KafkaConnectionError, match="Invalid username or password"):
        await list_topics({**plain, "KAFKA_SASL_PASSWORD": "wrong"})


async def test_kafkas_own_tool_goes_in_by_our_settings(stack: Locked) -> None:
    command = "eventsourcing-kafka compose kafka consumer-groups --describe --group fts"

    described = await run(command, stack.settings("fts"))

    assert EVENTS in described
    assert PASSWORD_IN_KAFKA not in described


async def test_a_password_that_is_changed_is_read_again(stack: Locked) -> None:
    settings = stack.settings("fts")
    settings["POSTGRES_PASSWORD_FILE"] = stack.file("old", "wrong")
    store = ViewStore.of(fts.VIEW, settings)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        async with store.connected():
            pass

    stack.file("old", PASSWORD)

    async with store.connected():
        pass


async def test_a_token_lets_in_and_is_used_as_long_as_it_is_valid(
    stack: Locked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(stack.certificates.authority))
    async with token_endpoint(*stack.certificates.of("tokens", HOST)) as (url, given):
        settings = {
            **stack.common,
            "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
            "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": url,
            "KAFKA_SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_ID": "fts",
            "KAFKA_SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET_FILE": stack.file("c", SECRET),
            "KAFKA_SASL_OAUTHBEARER_SCOPE": "kafka",
        }
        assert await list_topics(settings) == [EVENTS, POSITION]
        assert given == ["kafka"]

        wrong = stack.file("c", "wrong")
        with pytest.raises(KafkaConnectionError, match="gives no token: invalid_client") as refused:
            await list_topics(settings)
        assert wrong not in str(refused.value)
