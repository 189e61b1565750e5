"""A lost server is waited out, the next item is prefetched, and what is in flight is drained."""

import gc
import warnings
from collections.abc import AsyncGenerator, Callable

import anyio
import anyio.lowlevel
import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError, ProducerFenced
from aiokafka.protocol.metadata import MetadataRequest

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.runtime.drain import draining
from eventsourcing_kafka.producer.runtime.prefetch import prefetching
from eventsourcing_kafka.producer.runtime.process import run
from eventsourcing_kafka.producer.runtime.retry import retrying


class Source:
    """Counts from one on, and tells how far it was read and that it was closed."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.read = 0
        self.closed = False
        self._fail_at = fail_at

    async def items(self) -> AsyncGenerator[int, None]:
        try:
            while True:
                if self.read + 1 == self._fail_at:
                    raise KafkaConnectionError
                self.read += 1
                yield self.read
        finally:
            self.closed = True


async def test_one_item_is_prefetched_and_no_more() -> None:
    source = Source()

    async with prefetching(source.items()) as items:
        assert await anext(items) == 1
        await anyio.wait_all_tasks_blocked()
        assert source.read == 2

    assert source.closed


async def test_an_error_of_the_body_is_the_only_one_although_an_item_waits() -> None:
    source = Source()

    with pytest.RaisesGroup(KafkaConnectionError, flatten_subgroups=True):
        async with prefetching(source.items()) as items:
            await anext(items)
            await anyio.wait_all_tasks_blocked()
            raise KafkaConnectionError

    assert source.closed


async def test_an_error_of_the_source_ends_the_body() -> None:
    with pytest.RaisesGroup(KafkaConnectionError, flatten_subgroups=True):
        async with prefetching(Source(fail_at=3).items()) as items:
            assert [await anext(items), await anext(items)] == [1, 2]
            await anyio.sleep_forever()


@pytest.mark.parametrize("error", [KafkaConnectionError(), psycopg.OperationalError()])
async def test_a_lost_server_is_waited_out_until_a_session_returns(error: Exception) -> None:
    sessions = 0

    async def session(progressed: Callable[[], None]) -> None:
        nonlocal sessions
        sessions += 1
        progressed()
        if sessions < 5:
            raise ExceptionGroup("of a task group", [error])

    await retrying("test", session, first_pause=0.001)

    assert sessions == 5


@pytest.mark.parametrize(
    "error",
    [ValueError(), ProducerFenced(), ExceptionGroup("", [KafkaConnectionError(), KeyError()])],
)
async def test_an_error_of_our_own_is_not_waited_out(error: Exception) -> None:
    async def session(progressed: Callable[[], None]) -> None:
        raise error

    with pytest.raises(type(error)):
        await retrying("test", session)


@pytest.mark.parametrize(("grace", "finished"), [(10, True), (0, False)])
async def test_what_is_in_flight_has_its_grace_when_cancelled(grace: float, finished: bool) -> None:
    done = False
    async with anyio.create_task_group() as group, draining(grace) as in_flight:
        async with in_flight():
            group.cancel_scope.cancel()
            await anyio.sleep(0.02)
            done = True
        await anyio.lowlevel.checkpoint()
        pytest.fail("It goes on though it was cancelled.")

    assert done == finished


async def test_nothing_more_is_begun_once_it_is_cancelled() -> None:
    begun = False
    async with anyio.create_task_group() as group, draining(10) as in_flight:
        group.cancel_scope.cancel()
        async with in_flight():
            begun = True

    assert not begun


async def test_what_was_in_flight_before_is_not_in_the_way_of_what_is_now() -> None:
    async with draining(10) as in_flight:
        for _ in range(2):
            async with in_flight():
                await anyio.lowlevel.checkpoint()


def test_of_a_connection_that_aiokafka_forgets_when_cancelled_nothing_is_said(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send = AIOKafkaConnection.send
    asked = 0

    async def start_and_cancel() -> None:
        scope = anyio.CancelScope()

        async def send_and_cancel(connection: AIOKafkaConnection, request: object) -> object:
            nonlocal asked
            if isinstance(request, MetadataRequest):
                asked += 1
                scope.cancel()
            return await send(connection, request)

        monkeypatch.setattr(AIOKafkaConnection, "send", send_and_cancel)
        with scope:
            async with started(AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)):
                raise AssertionError
        gc.collect()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        run(start_and_cancel)
    assert asked == 1
    assert not [record for record in caplog.records if record.name == "asyncio"]
