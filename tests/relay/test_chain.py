"""Whatever happens to Kafka, or to the database, each event is in the topic once, in one chain."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import InvalidProducerEpoch, InvalidTxnState, KafkaError
from msgspec.structs import replace

from eventsourcing_kafka.compose.servers.processes import HOST
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.compat import UnansweredError
from eventsourcing_kafka.producer.relay import OtherWriteModelError, Publisher
from eventsourcing_kafka.producer.runtime.metrics import REGISTRY
from eventsourcing_kafka.producer.wire.chain import START, Link
from tests.chaos.proxy import Api, KafkaProxy
from tests.chaos.stage import brokers_behind
from tests.pipeline import until

from .under_test import RelayUnderTest, as_an_older_cluster, positions

Records = Iterable[ConsumerRecord[bytes, bytes]]


def link_of(record: ConsumerRecord[bytes, bytes]) -> Any:
    headers = dict(record.headers)
    link = Link(int(headers["ce_position"]), headers["ce_identity"].decode())
    return link.text


def predecessor_of(record: ConsumerRecord[bytes, bytes]) -> Any:
    return dict(record.headers)["ce_predecessor"].decode()


def broken_links(records: Records) -> list[tuple[str, str]]:
    """Return what is before a record, and what it names, where these differ."""
    by_partition = defaultdict(list)
    for record in records:
        by_partition[record.partition].append(record)
    return [
        (before, predecessor_of(record))
        for each in by_partition.values()
        for before, record in pairwise([None, *sorted(each, key=lambda record: record.offset)])
        if record
        for before in [link_of(before) if before else START.text]
        if before != predecessor_of(record)
    ]


async def is_whole(under_test: RelayUnderTest, last: int) -> None:
    """See that the topic has each event once, and that each record names the one before it."""
    records = await under_test.records()
    assert sorted(positions(records)) == list(range(1, last + 1))
    assert broken_links(records) == []


async def delete_topics(under_test: RelayUnderTest, *names: str) -> None:
    async with under_test.admin() as admin:
        await admin.delete_topics(list(names))

        async def are_gone() -> bool:
            return not set(names) & set(await admin.list_topics())

        await until(are_gone)


async def test_records_of_many_transactions_and_sessions_are_one_chain(
    under_test: RelayUnderTest,
) -> None:
    for _ in range(3):
        last = under_test.write(20)
        await under_test.catch_up(limit=3)

    await is_whole(under_test, last)


@pytest.mark.parametrize("lost", [{"events"}, {"position"}, {"events", "position"}], ids=sorted)
async def test_a_topic_that_was_deleted_is_published_again_and_nothing_twice(
    under_test: RelayUnderTest, lost: set[str]
) -> None:
    under_test.write(20)
    await under_test.catch_up()
    await delete_topics(under_test, *(getattr(under_test.topics, name) for name in lost))

    last = under_test.write(10)
    await under_test.catch_up()

    await is_whole(under_test, last)


@pytest.mark.parametrize("lost", [{"events"}, {"position"}, {"events", "position"}], ids=sorted)
async def test_a_topic_that_is_deleted_under_a_running_relay_is_soon_missed_and_published_again(
    under_test: RelayUnderTest, caplog: pytest.LogCaptureFixture, lost: set[str]
) -> None:
    counted = lost_by(under_test)
    async with under_test.relaying(check=0.1, grace=0.1):
        last = under_test.write(20)
        await under_test.progress.reached(last)
        under_test.progress.forget()
        await delete_topics(under_test, *(getattr(under_test.topics, name) for name in lost))
        last = under_test.write(10)
        await under_test.progress.reached(last)

    await under_test.catch_up()
    await is_whole(under_test, last)
    assert "is published again" in caplog.text
    assert "waiting for its server" not in caplog.text
    assert lost_by(under_test) > counted


def lost_by(under_test: RelayUnderTest) -> float:
    labels = {"application": under_test.app.name}
    return REGISTRY.get_sample_value("eventsourcing_kafka_relay_lost_total", labels) or 0


async def test_what_a_torn_transaction_has_lost_is_published(under_test: RelayUnderTest) -> None:
    under_test.write(20)
    await under_test.catch_up()
    last = under_test.write(20)
    notifications = under_test.app.recorder.select_notifications(21, 20)
    async with Publisher.connected(under_test.wire, under_test.settings, "torn") as publisher:
        batch = await publisher.batch(map(under_test.wire.to_record, notifications), last)
        batch.by_partition.popitem()  # Kafka commits the rest, with the position record.
        await publisher.publish(batch)
    assert await under_test.published() == last

    await under_test.catch_up()

    await is_whole(under_test, last)


async def test_a_database_that_was_restored_and_has_grown_past_the_topic_is_refused(
    under_test: RelayUnderTest,
) -> None:
    last = under_test.write(20)
    await under_test.catch_up()
    await under_test.execute("DELETE FROM contentmanagement_events WHERE notification_id > 10")
    await under_test.execute(
        "ALTER SEQUENCE contentmanagement_events_notification_id_seq RESTART 11"
    )
    under_test.write(30)

    with pytest.RaisesGroup(
        pytest.RaisesExc(OtherWriteModelError, match="another one at position"),
        flatten_subgroups=True,
    ):
        await under_test.relay().run()

    assert sorted(positions(await under_test.records())) == list(range(1, last + 1))


async def test_copies_and_foreign_records_behind_the_last_one_are_no_end_of_the_chain(
    under_test: RelayUnderTest,
) -> None:
    under_test.write(20)
    await under_test.catch_up()
    records = await under_test.records()
    async with started(AIOKafkaProducer(**under_test.settings.client())) as somebody:
        for copied in records[:5]:
            await somebody.send_and_wait(
                under_test.topics.events,
                copied.value,
                key=copied.key,
                partition=copied.partition,
                headers=list(copied.headers),
            )
        await somebody.send_and_wait(under_test.topics.events, b"?", key=b"somebody's")

    last = under_test.write(20)
    await under_test.catch_up()

    found = [record for record in await under_test.records() if record.key != b"somebody's"]
    assert Counter(positions(found)) == Counter([*range(1, last + 1), *positions(records[:5])])


@asynccontextmanager
async def behind_a_proxy(under_test: RelayUnderTest, folder: Path) -> AsyncIterator[KafkaProxy]:
    """Everything of the relay goes to a broker of its own, through this."""
    proxy = KafkaProxy()
    (broker,) = brokers_behind(folder, [proxy])
    under_test.settings = replace(
        under_test.settings, bootstrap_servers=f"{HOST}:{proxy.port}", session_timeout_ms=3000
    )
    async with broker, anyio.create_task_group() as tasks:
        await tasks.start(proxy.serve, broker.port)
        yield proxy
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def late(proxy: KafkaProxy, api: Api) -> AsyncIterator[Any]:
    held = proxy.hold_back(api)
    try:
        yield held
    finally:
        await held.give_up()


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("api", "way"),
    [
        (Api.END_TXN, "newer"),
        (Api.PRODUCE, "newer"),
        (Api.END_TXN, "older"),
        (Api.ADD_PARTITIONS_TO_TXN, "older"),
        (Api.PRODUCE, "older"),
    ],
)
async def test_a_request_that_arrives_late_tears_no_later_transaction(
    under_test: RelayUnderTest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    api: Api,
    way: str,
) -> None:
    if way == "older":
        as_an_older_cluster(monkeypatch)
    async with behind_a_proxy(under_test, tmp_path) as proxy:
        async with under_test.relaying():
            await under_test.progress.reached(under_test.write(10))
            async with late(proxy, api) as held:
                await under_test.progress.reached(under_test.write(10))
                async with anyio.create_task_group() as delivering:
                    delivering.start_soon(held.deliver)
                    for _ in range(5):
                        last = under_test.write(200)
                    await under_test.progress.reached(last)
            last = under_test.write(10)
            await under_test.progress.reached(last)

        await under_test.catch_up()
        await is_whole(under_test, last)


def once_before(
    monkeypatch: pytest.MonkeyPatch, call: str, step: Callable[[AIOKafkaProducer], Awaitable[None]]
) -> None:
    """Have something happen before a producer is asked for something the next time."""
    asked = getattr(AIOKafkaProducer, call)

    async def after_the_step(producer: AIOKafkaProducer, *args: Any, **options: Any) -> Any:
        monkeypatch.setattr(AIOKafkaProducer, call, asked)
        await step(producer)
        return await asked(producer, *args, **options)

    monkeypatch.setattr(AIOKafkaProducer, call, after_the_step)


def unexpected(error: Exception) -> KafkaError:
    """Return what aiokafka's sender makes of an answer that it does not expect."""
    wrapped = KafkaError("Unexpected error during batch delivery")
    wrapped.__cause__ = error
    return wrapped


async def is_fatal(producer: AIOKafkaProducer, error: Exception) -> None:
    producer._message_accumulator.fail_all(error)
    producer._txn_manager.fatal_error(error)


async def is_abortable(producer: AIOKafkaProducer, error: Exception) -> None:
    producer._txn_manager.error_transaction(error)


@pytest.mark.parametrize(
    ("call", "fail"),
    [
        ("begin_transaction", is_fatal),
        ("send_batch", is_fatal),
        ("send_batch", is_abortable),
        ("commit_transaction", is_fatal),
        ("commit_transaction", is_abortable),
    ],
)
@pytest.mark.parametrize(
    "error", [UnansweredError(), InvalidTxnState(), unexpected(InvalidProducerEpoch())], ids=repr
)
async def test_a_transaction_that_has_failed_meanwhile_ends_a_session_and_not_the_relay(
    under_test: RelayUnderTest,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    fail: Callable[[AIOKafkaProducer, Exception], Awaitable[None]],
    error: Exception,
) -> None:
    async with under_test.relaying():
        await under_test.progress.reached(under_test.write(10))
        once_before(monkeypatch, call, lambda producer: fail(producer, error))
        under_test.write(10)
        await under_test.progress.gave_up.wait()
        last = under_test.write(10)
        await under_test.progress.reached(last)

    await under_test.catch_up()
    await is_whole(under_test, last)


@pytest.mark.usefixtures("programs")
async def test_what_is_sent_after_a_request_without_an_answer_ends_a_session_and_not_the_relay(
    under_test: RelayUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_batch = AIOKafkaProducer.send_batch

    async with behind_a_proxy(under_test, tmp_path) as proxy:
        async with under_test.relaying():
            await under_test.progress.reached(under_test.write(10))
            async with late(proxy, Api.PRODUCE) as held:

                async def send_too_late(
                    producer: AIOKafkaProducer, batch: Any, topic: str, *, partition: int
                ) -> Any:
                    async def has_failed() -> bool:
                        return bool(producer._txn_manager.is_fatal_error())

                    if topic == under_test.topics.events:
                        monkeypatch.setattr(AIOKafkaProducer, "send_batch", send_batch)
                        await until(has_failed)
                    return await send_batch(producer, batch, topic, partition=partition)

                monkeypatch.setattr(AIOKafkaProducer, "send_batch", send_too_late)
                last = under_test.write(10)
                await under_test.progress.reached(last)
                assert held.caught.is_set()

        await under_test.catch_up()
        await is_whole(under_test, last)
