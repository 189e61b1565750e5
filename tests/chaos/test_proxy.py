"""A request that is held back reaches the broker when nobody thinks of it any more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from eventsourcing_kafka.compose.servers.processes import HOST, free_port
from tests.chaos.proxy import Api, KafkaProxy, Proxy
from tests.chaos.stage import brokers_behind
from tests.history.reading import read_topic
from tests.pipeline import until

pytestmark = pytest.mark.usefixtures("programs")

TOPIC = "events"


@asynccontextmanager
async def proxied(folder: Path) -> AsyncIterator[tuple[KafkaProxy, AIOKafkaProducer]]:
    """Start a broker, a proxy that all its clients come through, and a producer."""
    proxy = KafkaProxy()
    (broker,) = brokers_behind(folder, [proxy])
    async with broker, anyio.create_task_group() as tasks:
        await tasks.start(proxy.serve, broker.port)
        async with producing(proxy) as producer:
            yield proxy, producer
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def producing(proxy: KafkaProxy) -> AsyncIterator[AIOKafkaProducer]:
    servers = f"{HOST}:{proxy.port}"
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id="relay", acks="all")
    await producer.start()
    try:
        yield producer
    finally:
        with suppress(KafkaError):
            await producer.stop()


async def send(producer: AIOKafkaProducer, position: int) -> None:
    headers = {
        "ce_position": f"{position}",
        "ce_subject": "a",
        "ce_sequence": f"{position}",
        "ce_time": "2030-01-01T00:00:00Z",
    }
    encoded = [(name, value.encode()) for name, value in headers.items()]
    await producer.send_and_wait(TOPIC, b"{}", partition=0, headers=encoded)


async def publish(producer: AIOKafkaProducer, position: int) -> None:
    async with producer.transaction():
        await send(producer, position)


async def positions(proxy: KafkaProxy) -> list[int]:
    """Return the positions that a reader of what is committed finds."""
    found = [found async for found in read_topic(f"{HOST}:{proxy.port}", TOPIC)]
    return [record.position for partition in found for record in partition.records]


async def test_a_late_end_commits_what_nobody_has_asked_to_commit(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (proxy, producer):
        held = proxy.hold_back(Api.END_TXN)
        await publish(producer, 1)  # aiokafka asks again, and is answered
        assert held.caught.is_set()

        await producer.begin_transaction()
        await send(producer, 2)
        assert await positions(proxy) == [1]
        assert await held.deliver()

        async def there() -> bool:
            return await positions(proxy) == [1, 2]

        await until(there)


async def test_what_is_held_back_and_what_is_given_up_leaves_the_rest_as_it_was(
    tmp_path: Path,
) -> None:
    async with proxied(tmp_path) as (proxy, producer):
        produce = proxy.hold_back(Api.PRODUCE)
        await publish(producer, 1)
        partitions = proxy.hold_back(Api.ADD_PARTITIONS_TO_TXN)
        await publish(producer, 2)
        end = proxy.hold_back(Api.END_TXN)
        await publish(producer, 3)
        assert await produce.deliver()
        assert await partitions.deliver()
        await end.give_up()
        assert await positions(proxy) == [1, 2, 3]


async def test_a_client_of_a_server_that_is_down_is_turned_away() -> None:
    proxy = Proxy()
    async with anyio.create_task_group() as tasks:
        await tasks.start(proxy.serve, free_port())
        async with await anyio.connect_tcp(HOST, proxy.port) as client:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await client.receive()
        tasks.cancel_scope.cancel()
