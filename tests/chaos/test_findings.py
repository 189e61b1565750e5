"""What chaos has found, each as the smallest thing that shows it."""

import asyncio
import gc
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import psycopg
import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    OperationNotAttempted,
    ProducerFenced,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.structs import TopicPartition

from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.relay.publisher import _all_delivered, _unlogged
from eventsourcing_kafka.producer.runtime.process import run
from eventsourcing_kafka.producer.runtime.retry import is_transient
from tests.chaos.logs import STARTS, noise
from tests.chaos.run import schedule
from tests.pipeline import ROOT, Pipeline

OFFSET_NOT_AVAILABLE = 78


class CancelsItsOwnFetch:
    """Stops as aiokafka's consumer does while a fetch of its own is backing off."""

    client = SimpleNamespace(_bootstrap_servers="nowhere")

    async def start(self) -> None:
        """Start."""

    async def stop(self) -> None:
        """Cancel the fetch, and let that show."""
        fetch = asyncio.create_task(anyio.sleep_forever())
        await anyio.lowlevel.checkpoint()
        fetch.cancel()
        await fetch


async def test_a_client_that_cancels_its_own_fetch_does_not_cancel_the_view() -> None:
    went_on = False
    async with anyio.create_task_group() as views:

        async def view() -> None:
            nonlocal went_on
            async with started(CancelsItsOwnFetch()):
                pass
            went_on = True

        views.start_soon(view)
    assert went_on


@pytest.mark.parametrize(
    "error",
    [
        KafkaError("Unexpected error during batch delivery"),  # the coordinator was lost
        KafkaTimeoutError("Failed to get offsets by times in 40000 ms"),
        for_code(OFFSET_NOT_AVAILABLE)("a leader that has just been elected"),
        OperationNotAttempted("another partition of the request has been deleted"),
        psycopg.InternalError("received 2 results from command 'SAVEPOINT \"_pg3_2\"'"),
    ],
    ids=repr,
)
def test_what_clients_say_of_a_lost_server_is_waited_out(error: Exception) -> None:
    assert is_transient(error)


def test_a_relay_that_is_fenced_does_not_wait() -> None:
    assert not is_transient(ProducerFenced("another relay"))


@pytest.mark.usefixtures("programs")
async def test_a_rebuild_shows_its_progress_from_the_first_moment(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment) as pipeline:
        await pipeline.write("page", "text\n")
        await pipeline.settled()
        rebuilt = await anyio.run_process(
            [sys.executable, "-m", "eventsourcing_kafka", "consumer", "rebuild", "fts", "--yes"],
            env={**os.environ, **environment},
            cwd=ROOT,
            check=False,
        )
        assert rebuilt.returncode == 0, rebuilt.stderr.decode()[-500:]


def test_a_task_that_aiokafka_leaves_alone_says_nothing_of_a_lost_broker_or_a_lost_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def leave_alone() -> None:
        errors = (KafkaConnectionError(), UnknownMemberIdError(), ValueError())
        tasks = [asyncio.create_task(fail(error)) for error in errors]
        await asyncio.wait(tasks)

    run(leave_alone)
    gc.collect()
    (told,) = [record for record in caplog.records if record.name == "asyncio"]
    assert told.exc_info
    assert isinstance(told.exc_info[1], ValueError)


def test_a_delivery_that_is_given_up_says_nothing_of_its_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def give_up() -> None:
        in_aiokafka: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        with anyio.move_on_after(0):
            await _all_delivered([_unlogged(asyncio.shield(in_aiokafka))])
        in_aiokafka.set_exception(ProducerFenced())
        await anyio.lowlevel.checkpoint()

    run(give_up)
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_batches_that_were_not_sent_when_the_turn_was_lost_say_nothing_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def lose_the_turn() -> None:
        batch = MessageBatch(TopicPartition("events", 0), None, 1, 0)
        delivery = _unlogged(batch.future)
        batch.failure(ProducerFenced())
        with pytest.raises(ProducerFenced):
            await _all_delivered([delivery])

    run(lose_the_turn)
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize(("seconds", "too_often"), [(2, True), (20, False)])
def test_a_loss_is_noise_if_it_is_said_again_and_again_in_a_short_time(
    tmp_path: Path, seconds: int, *, too_often: bool
) -> None:
    log = tmp_path / "relay.log"
    lost = "WARNING  relay: waiting for its server: a server"
    times = [divmod(number * seconds, 60) for number in range(5)]
    losses = [f"[03:{minutes:02}:{rest:02}] {lost}" for minutes, rest in times]
    log.write_text("\n".join([STARTS, *losses, f"           {lost}"]))
    assert bool(list(noise(log))) == too_often


@pytest.mark.parametrize("seed", [1, 2])
def test_a_seed_repeats_its_schedule(seed: int) -> None:
    assert list(schedule(seed, 60, 2)) == list(schedule(seed, 60, 2))
    assert list(schedule(seed, 60, 2)) != list(schedule(seed + 1, 60, 2))
