"""What is used of the insides of two libraries is there in the versions that are installed."""

import asyncio
import inspect
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, conn
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaConnectionError
from aiokafka.producer import sender
from aiokafka.protocol.transaction import EndTxnRequest
from aiokafka.record.memory_records import MemoryRecords
from eventsourcing import postgres, sqlite, utils
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    JSONTranscoder,
    Mapper,
    PersistenceError,
    StoredEvent,
    Tracking,
)
from eventsourcing.postgres import PostgresDatastore
from eventsourcing.utils import Environment

import tests.wire
from eventsourcing_kafka.producer.kafka import compat as kafka
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.outbox.traced import TracedRecorder
from eventsourcing_kafka.producer.relay.publisher import BATCH_BYTES
from eventsourcing_kafka.producer.runtime import compat as library
from eventsourcing_kafka.producer.runtime.postgres import connected
from eventsourcing_kafka.producer.runtime.servers import server_noted

NOWHERE = "127.0.0.1:1"
"""Nobody answers there."""
PARTITIONS = [TopicPartition("roses", 0), TopicPartition("roses", 1)]
STORED = StoredEvent(UUID(int=1), 1, "some:topic", b"{}")
CODEC_AT, CODEC_BITS, NO_CODEC = 22, 0b111, 0


def functions_of(room: ModuleType) -> Iterator[Callable[..., Any]]:
    for name, value in vars(room).items():
        if inspect.isfunction(value) and value.__module__ == room.__name__ and name[0] != "_":
            yield value


@pytest.mark.parametrize("room", [kafka, library])
def test_all_that_is_used_of_the_insides_is_tested_here(room: ModuleType) -> None:
    here = inspect.getsource(inspect.getmodule(functions_of))  # type: ignore[arg-type]

    assert [each.__name__ for each in functions_of(room) if f"{each.__name__}(" not in here] == []


@pytest.mark.parametrize("make", [AIOKafkaConsumer, AIOKafkaAdminClient])
async def test_the_connections_of_a_client_are_closed(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[AIOKafkaClient] = []

    async def close(client: AIOKafkaClient) -> None:
        closed.append(client)

    client = make(bootstrap_servers=NOWHERE)
    with monkeypatch.context() as patched:
        patched.setattr(AIOKafkaClient, "close", close)
        await kafka.close_connections(client)
    await (client.stop if hasattr(client, "stop") else client.close)()

    assert len(closed) == 1


async def test_the_end_of_a_transaction_brings_the_epoch_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def has_newer(*_: object) -> bool:
        return True

    async def send(*_: object, **__: object) -> Any:
        return SimpleNamespace(throttle_time_ms=0, error_code=0, producer_id=7, producer_epoch=5)

    monkeypatch.setattr(kafka, "has_newer", has_newer)
    producer = AIOKafkaProducer(bootstrap_servers=NOWHERE, transactional_id="roses")
    transaction = producer._txn_manager
    transaction.set_pid_and_epoch(7, 4)
    transaction.increment_sequence_number(PARTITIONS[0], 3)
    monkeypatch.setattr(producer._sender.client, "send", send)
    monkeypatch.setattr(producer.client, "get_random_node", lambda: 1)

    assert await kafka.transact_in_the_newer_way(producer)
    await producer._sender.client.send(1, EndTxnRequest("roses", 7, 4, True))

    assert (transaction.producer_id, transaction.producer_epoch) == (7, 5)
    assert transaction.sequence_number(PARTITIONS[0]) == 0
    await producer.stop()


async def test_a_consumer_joins_its_group_again() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=NOWHERE)
    subscriptions = SubscriptionState()
    coordinator = GroupCoordinator(consumer._client, subscriptions, group_id="roses")
    subscriptions.subscribe({"roses"})
    subscriptions.assign_from_subscribed(PARTITIONS)
    consumer._coordinator = coordinator
    subscription = subscriptions.subscription
    assert not coordinator.need_rejoin(subscription)

    kafka.rejoin(consumer)

    assert coordinator.need_rejoin(subscription)
    await consumer.stop()


async def test_a_broker_that_can_not_be_reached_is_an_error_with_the_reason() -> None:
    kafka.forget_refusals()
    client = AIOKafkaConsumer(bootstrap_servers=NOWHERE)
    assert kafka.bootstrap_servers(client) == NOWHERE
    with pytest.raises(KafkaConnectionError, match=f"^Kafka at {NOWHERE}: Connection refused$"):
        async with started(client):
            raise AssertionError
    assert [type(found) for found in kafka.refusals()] == [ConnectionRefusedError]

    kafka.forget_refusals()
    assert kafka.refusals() == ()


def test_a_connection_that_aiokafka_lost_sight_of_is_called_so() -> None:
    assert f'"message": "{kafka.UNCLOSED}"' in inspect.getsource(conn)


async def test_partitions_are_enlisted_in_a_transaction() -> None:
    producer = AIOKafkaProducer(bootstrap_servers=NOWHERE, transactional_id="roses")
    transaction = producer._txn_manager
    transaction.set_pid_and_epoch(1, 0)
    transaction.begin_transaction()

    kafka.enlist_partitions(producer, PARTITIONS)

    assert transaction.partitions_to_add() == set(PARTITIONS)
    await producer.stop()


CALLS: list[Callable[[AIOKafkaProducer], Awaitable[Any]]] = [
    AIOKafkaProducer.begin_transaction,
    AIOKafkaProducer.commit_transaction,
    AIOKafkaProducer.abort_transaction,
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
async def test_what_is_asked_of_a_transaction_that_has_failed_fails_for_its_reason(
    call: Callable[[AIOKafkaProducer], Awaitable[Any]],
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=NOWHERE, transactional_id="roses")
    transaction, reason = producer._txn_manager, KafkaConnectionError("its reason")
    reason.__cause__ = behind_it = OSError("behind it")
    transaction.set_pid_and_epoch(1, 0)
    transaction.begin_transaction()
    transaction.fatal_error(reason)

    with (
        pytest.raises(KafkaConnectionError, match="its reason") as raised,
        kafka.failing_as_its_transaction(producer),
    ):
        await call(producer)

    assert raised.value.__cause__ is behind_it
    await producer.stop()


async def test_a_producer_that_has_failed_before_its_first_transaction_says_why() -> None:
    producer = AIOKafkaProducer(bootstrap_servers=NOWHERE, transactional_id="roses")
    transaction, reason = producer._txn_manager, KafkaConnectionError("its reason")
    producer._message_accumulator.fail_all(reason)
    with pytest.raises(AttributeError):
        transaction.fatal_error(reason)  # There is no future yet that could have it.

    with (
        pytest.raises(KafkaConnectionError, match="its reason"),
        kafka.failing_as_its_transaction(producer),
    ):
        transaction.begin_transaction()
    await producer.stop()


async def test_an_error_that_is_not_of_the_transaction_is_left_as_it_is() -> None:
    producer = AIOKafkaProducer(bootstrap_servers=NOWHERE, transactional_id="roses")

    with (
        pytest.raises(ValueError, match="of somebody else"),
        kafka.failing_as_its_transaction(producer),
    ):
        raise ValueError("of somebody else")
    await producer.stop()


def test_the_backoff_of_a_transaction_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "BACKOFF_OVERRIDE", 0.02)

    kafka.set_transaction_backoff(0.5)

    assert sender.BACKOFF_OVERRIDE == 0.5
    assert "return BACKOFF_OVERRIDE" in inspect.getsource(sender)


def test_a_batch_is_made_that_is_not_compressed() -> None:
    builder = kafka.uncompressed_batch(1000)

    assert builder.append(key=b"rose", value=b"x" * 500, timestamp=None) is not None
    assert builder._build()[CODEC_AT] & CODEC_BITS == NO_CODEC


@pytest.fixture(params=["zstd", "gzip", "lz4", "snappy", None])
async def batches(request: pytest.FixtureRequest) -> AsyncIterator[Sequence[Any]]:
    """A batch that can be compressed ahead, and one of aiokafka's own."""
    producer = AIOKafkaProducer(
        bootstrap_servers=NOWHERE,
        transactional_id="roses",
        compression_type=request.param,
        max_batch_size=BATCH_BYTES,
    )
    yield kafka.CompressingBatch.of(producer, BATCH_BYTES), producer.create_batch()
    await producer.stop()


def fill(batch: Any, records: int) -> None:
    for number in range(records):
        said = {"key": b"rose", "value": b"thorn " * number, "headers": [("a", b"b")]}
        assert batch.append(timestamp=number, **said)


@pytest.mark.parametrize("records", [1, 200])
async def test_a_batch_that_is_compressed_ahead_is_the_same_as_one_that_is_not(
    batches: Sequence[Any], records: int
) -> None:
    for batch in batches:
        fill(batch, records)
    ahead, stock = batches

    await asyncio.to_thread(ahead.compress)

    assert ahead.append(key=b"rose", value=b"late", timestamp=0) is None
    for batch in batches:
        batch._set_producer_state(2**40, 7, 1234)
    assert ahead._build() == stock._build()
    assert (ahead.size(), ahead.record_count()) == (stock.size(), records)
    assert MemoryRecords(bytes(ahead._build())).next_batch().validate_crc()


async def test_a_batch_that_is_not_compressed_ahead_is_sent_as_ever(batches: Sequence[Any]) -> None:
    for batch in batches:
        fill(batch, 100)
        batch._set_producer_state(2**40, 7, 1234)

    late, stock = batches
    assert late._build() == stock._build()


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)],
)
def test_keys_are_hashed_as_kafkas_own_clients_do_it(key: bytes, murmur2: int) -> None:
    assert kafka.key_hash(key) == murmur2 & 0x7FFFFFFF


def test_the_partitions_of_a_member_are_read() -> None:
    assignment = ConsumerProtocolMemberAssignment(0, [("roses", [0, 1])], b"")

    assert kafka.assigned_partitions(assignment.encode()) == PARTITIONS


def test_a_pool_tells_how_it_connects() -> None:
    renewed = iter(["first", "second"])
    datastore = PostgresDatastore(
        "wiki", "localhost", 1, "ann", "", get_password_func=lambda: next(renewed)
    )

    assert library.pool_arguments(datastore) == {
        "dbname": "wiki",
        "host": "localhost",
        "port": 1,
        "user": "ann",
        "password": "first",
    }
    assert library.pool_arguments(datastore)["password"] == "second"


def test_a_recorder_inserts_events_on_a_cursor() -> None:
    inserted: list[tuple[Any, ...]] = []

    class Recorder(postgres.PostgresApplicationRecorder):
        def __init__(self) -> None: ...

        def _insert_events(self, curs: Any, stored_events: Any, **kwargs: Any) -> None:
            inserted.append(("events", curs, stored_events, kwargs))

        def _insert_stored_events(self, curs: Any, stored_events: Any, **kwargs: Any) -> None:
            inserted.append(("stored events", curs, stored_events, kwargs))

    library.insert_on_open_transaction(Recorder(), "cursor", [], more=1)
    library.insert_on_open_transaction(Recorder(), "cursor", [STORED], more=2)

    assert inserted == [
        ("events", "cursor", [], {"more": 1}),
        ("events", "cursor", [STORED], {"more": 2}),
        ("stored events", "cursor", [STORED], {"more": 2}),
    ]
    for name in ("_insert_events", "_insert_stored_events"):
        hook = getattr(postgres.PostgresApplicationRecorder, name)
        inspect.signature(hook).bind(Recorder(), None, [], more=1)


async def test_a_tracking_is_raised_on_another_connection_and_forgotten(
    environment: dict[str, str],
) -> None:
    settings = Environment("fts", environment)
    with postgres.PostgresFactory(settings) as factory:
        recorder = factory.tracking_recorder()
        async with connected(**library.pool_arguments(recorder.datastore)) as connection:
            for position in (3, 5, 4):
                await library.raise_tracking(connection, recorder, "Shop", position)
            assert recorder.max_tracking_id("Shop") == 5

            await library.delete_tracking(connection, recorder, "Shop")
            assert recorder.max_tracking_id("Shop") is None


def test_a_recorder_tracks_elsewhere_meanwhile(environment: dict[str, str]) -> None:
    with postgres.PostgresFactory(Environment("fts", environment)) as factory:
        recorder = factory.tracking_recorder()
        assert library.tracks_in_one_row(recorder)
        positions: dict[str, int] = {}
        with library.tracking_in(recorder, positions):
            recorder.insert_tracking(Tracking("Shop", 3))
            assert recorder.max_tracking_id("Shop") == 3
        assert positions == {"Shop": 3}
        assert recorder.max_tracking_id("Shop") is None

        recorder.datastore.single_row_tracking = False
        assert not library.tracks_in_one_row(recorder)


def test_idle_connections_are_replaced_together_when_one_is_lost(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "psycopg.pool")
    pooled = {"POSTGRES_POOL_SIZE": "3", "POSTGRES_PRE_PING": "y"}
    with postgres.PostgresFactory(Environment("fts", environment | pooled)) as factory:
        library.renew_together(factory.datastore)
        pool = factory.datastore.pool
        with ExitStack() as taken:
            all_of_them = [taken.enter_context(pool.connection()) for _ in range(3)]
            pids = [each.info.backend_pid for each in all_of_them]
        arguments = library.pool_arguments(factory.datastore)
        with psycopg.connect(**arguments, autocommit=True) as another:
            assert another.execute(END, [pids]).rowcount == 3

        for _ in range(3):
            with factory.datastore.get_connection() as connection:
                assert connection.info.backend_pid not in pids

    assert len([each for each in caplog.messages if "failed check" in each]) == 1


END = "SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s) AS pid"


@pytest.mark.parametrize("ends", ["no SQL", "SELECT pg_terminate_backend(pg_backend_pid())"])
def test_the_error_of_a_connection_that_is_lost_says_whose_it_is(
    environment: dict[str, str], ends: str
) -> None:
    with postgres.PostgresFactory(Environment("fts", environment)) as factory:
        library.name_in_errors(factory.datastore, "Postgres of mine")
        with pytest.raises(PersistenceError) as failed, factory.datastore.transaction() as cursor:
            cursor.execute(ends)
    named = "Postgres of mine" if "terminate" in ends else None
    assert server_noted(failed.value) == named


def test_the_hook_of_a_traced_recorder_is_the_librarys() -> None:
    mine, theirs = (
        list(inspect.signature(each._insert_events).parameters)
        for each in (TracedRecorder, postgres.PostgresApplicationRecorder)
    )

    assert mine[:-1] == theirs[:-1]
    assert "self._insert_events(" in inspect.getsource(postgres.PostgresApplicationRecorder)


def test_a_connection_of_sqlite_is_found() -> None:
    inner: Any = object()

    assert library.sqlite_connection(sqlite.SQLiteConnection(inner, max_age=None)) is inner


def test_a_tracking_is_inserted_on_a_cursor(tmp_path: Path) -> None:
    datastore = sqlite.SQLiteDatastore(str(tmp_path / "view.sqlite"), single_row_tracking=False)
    recorder = sqlite.SQLiteTrackingRecorder(datastore)
    recorder.create_table()

    with datastore.transaction(commit=True) as cursor:
        library.insert_tracking(recorder, cursor, Tracking("wiki", 1))

    assert recorder.max_tracking_id("wiki") == 1
    datastore.close()


def test_a_mapper_tells_what_it_is_made_of() -> None:
    mapper: Mapper[Any] = Mapper(JSONTranscoder())

    assert (mapper.cipher, mapper.compressor) == (None, None)
    assert isinstance(mapper.transcoder, JSONTranscoder)
    assert mapper.transcoder.names == {}


class Rose(Aggregate):
    class Opened(Aggregate.Event):
        """Has an ID that is a UUID."""


class Tag:
    originator_id: str


@pytest.fixture
def aliases(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the library has registered, to be changed for the length of a test."""
    registered = dict(utils._topic_cache)
    monkeypatch.setattr(utils, "_topic_cache", registered)
    return registered


@pytest.mark.parametrize(
    ("alias", "of", "topic", "found"),
    [
        ("Opened", Rose.Opened, "Opened", Rose.Opened),
        ("old:Rose.Opened", Rose.Opened, "old:Rose.Opened", Rose.Opened),
        ("old:Flower", Rose, "old:Flower.Opened", Rose.Opened),
        ("old", sys.modules[__name__], "old:Rose.Opened", Rose.Opened),
        ("old.part", sys.modules[__name__], "old.part:Rose", Rose),
        ("old", tests.wire, "old.test_compat:Rose.Opened", Rose.Opened),
        ("old", tests, "old.wire.test_compat:Rose.Opened", Rose.Opened),
        ("old:Flower", Rose, "old:Flower.Closed", None),
        ("old", sys.modules[__name__], "old:Flower", None),
        ("old", tests, "old.nowhere:Rose", None),
        ("old", tests, "older:Rose", None),
        ("old:Flower", Rose, "old:Flower.Opened.__init__.x", None),
    ],
)
def test_an_alias_is_found_where_the_library_finds_it(
    alias: str, of: Any, topic: str, found: Any, aliases: dict[str, Any]
) -> None:
    utils.register_topic(alias, of)

    assert library.registered_as(topic) is found
    if found:
        assert utils.resolve_topic(topic) is found


def test_what_is_not_registered_is_not_imported(aliases: dict[str, Any]) -> None:
    assert library.registered_as("antigravity:geohash") is None
    assert library.registered_as(f"{__name__}:Nobody") is None
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(("cls", "of"), [(Rose.Opened, UUID), (Tag, str)])
def test_the_type_of_an_id_is_the_one_of_the_librarys_mapper(cls: Any, of: type) -> None:
    assert library.id_type(cls) is of


def test_a_class_that_does_not_say_the_type_of_its_id_is_refused() -> None:
    with pytest.raises(TypeError, match="originator_id annotation"):
        library.id_type(Tracking)


async def test_a_request_of_a_transaction_that_gets_no_answer_is_not_sent_again() -> None:
    producer = AIOKafkaProducer(bootstrap_servers=NOWHERE, transactional_id="roses")
    kafka.ask_once(producer)
    transaction, sender_ = producer._txn_manager, producer._sender
    transaction.set_pid_and_epoch(1, 0)
    transaction.begin_transaction()
    sender_._sender_task = asyncio.ensure_future(asyncio.sleep(30))

    with pytest.raises(kafka.UnansweredError, match="EndTxnRequest has got no answer"):
        await sender_.client.send(0, EndTxnRequest("roses", 1, 0, True), group=None)

    with pytest.raises(kafka.UnansweredError):
        await transaction.wait_for_transaction_end()
    with pytest.raises(asyncio.CancelledError):
        await sender_._sender_task
    await producer.stop()
