"""What a policy sees while a batch is applied, and what is left of a batch that is broken off."""

import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest
from anyio import from_thread, to_thread
from psycopg import connect
from psycopg.pq import TransactionStatus

from eventsourcing_kafka.compose.runner import KafkaRunner
from eventsourcing_kafka.consumer.hosting.threads import BlockingConnection, in_worker
from eventsourcing_kafka.consumer.views.fts.application import FtsProcess
from eventsourcing_kafka.consumer.views.fts.system import ContentManagementSystem
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.runtime.construct import construct
from examples.dogschool.application import DogSchool
from tests.fts.test_scenario import FTS, play
from tests.operations.child import Child, child, is_so
from tests.pipeline import until

from .awkward import (
    TRICKS,
    Careless,
    Choosy,
    Diarist,
    Mortal,
    Photographer,
    careless,
    choosy,
    diarist,
    mortal,
    photographer,
)
from .tallying import Left, Tally, chain
from .test_topologies import DOGS, counted, counts, teach

QUICKLY_MISSED = {"KAFKA_SESSION_TIMEOUT_MS": "500"}


def test_an_aggregate_is_seen_as_the_batch_has_made_it(env: dict[str, str]) -> None:
    with DogSchool(env) as school:
        teach(school)

    with KafkaRunner(chain, {**env, "KAFKA_TOPIC_PARTITIONS": "1"}) as runner:
        runner.wait()
        assert counted(runner.get(Left)) == {trick: [1, 2, 3, 4] for trick in TRICKS}


def test_an_aggregate_that_is_changed_and_not_collected_is_seen_as_it_was(
    env: dict[str, str],
) -> None:
    with DogSchool(env) as school:
        teach(school)

    with KafkaRunner(careless, {**env, "KAFKA_TOPIC_PARTITIONS": "1"}) as runner:
        runner.wait()
        assert counted(runner.get(Careless)) == {trick: [1, 2, 3, 4] for trick in TRICKS}


def test_a_log_is_seen_as_the_batch_has_made_it(env: dict[str, str]) -> None:
    with KafkaRunner(diarist, env) as runner:
        teach(runner.get(DogSchool))
        runner.wait()

        entries = list(runner.get(Diarist).diary.get())
        assert sorted(entry.trick for entry in entries) == sorted(TRICKS * len(DOGS))
        assert [entry.originator_version for entry in entries] == [*range(1, len(entries) + 1)]


@pytest.mark.parametrize("persistence", ["Postgres", "SQLite"])
def test_a_recorders_own_query_sees_what_the_batch_has_recorded(
    persistence: str, env: dict[str, str], tmp_path: Path
) -> None:
    recorder = f"{FTS}.{persistence.lower()}:{persistence}FtsProcessRecorder"
    own = {"FTSPROCESS_PROCESS_RECORDER_TOPIC": recorder}
    if persistence == "SQLite":
        own["FTSPROCESS_PERSISTENCE_MODULE"] = "eventsourcing.sqlite"
        own["FTSPROCESS_SQLITE_DBNAME"] = str(tmp_path / "fts")
    with KafkaRunner(ContentManagementSystem(), {**env, **own}) as runner:
        play(runner.get(ContentManagement), runner.wait, runner.get(FtsProcess).search)


def test_snapshots_are_taken_within_a_batch(env: dict[str, str]) -> None:
    with KafkaRunner(photographer, env) as runner:
        teach(runner.get(DogSchool))
        runner.wait()

        app = runner.get(Photographer)
        assert counts(app) == [4, 4, 4]
        assert app.snapshots
        (taken,) = app.snapshots.get(Tally.create_id(TRICKS[0]))
        assert isinstance(taken, Tally.Snapshot)
        assert (taken.originator_version, taken.state["count"]) == (3, 2)


def test_only_the_topics_that_a_follower_asks_for_come_to_it(env: dict[str, str]) -> None:
    with KafkaRunner(choosy, env) as runner:
        teach(runner.get(DogSchool))
        runner.wait()

        assert runner.get(Choosy).count("TrickAdded") == len(DOGS) * len(TRICKS)
        assert runner.get(Choosy).count("Registered") == 0


@pytest.mark.usefixtures("programs")
async def test_a_batch_that_is_killed_in_its_middle_is_applied_again(
    env: dict[str, str], tmp_path: Path
) -> None:
    env = {**env, **QUICKLY_MISSED}
    with DogSchool(env) as school:
        await to_thread.run_sync(teach, school)

    command = ("run", "tests.hosting.awkward:mortal")
    deadly = {**env, "MORTAL_DIES_AT": "7"}
    async with child(
        deadly, tmp_path / "log", "compose", *command, module="eventsourcing_kafka"
    ) as dying:
        assert await dying.ends() == -signal.SIGKILL

    with KafkaRunner(mortal, env) as runner:
        await to_thread.run_sync(runner.wait)
        assert counted(runner.get(Mortal)) == {trick: [1, 2, 3, 4] for trick in TRICKS}


async def test_a_transaction_of_a_follower_that_is_cancelled_is_not_left_open(
    env: dict[str, str],
) -> None:
    """Or all that is done on its connection later would never be committed."""
    with connect(
        host=env["POSTGRES_HOST"],
        port=env["POSTGRES_PORT"],
        user=env["POSTGRES_USER"],
        password=env["POSTGRES_PASSWORD"],
        dbname=env["POSTGRES_DBNAME"],
        autocommit=True,
    ) as connection:

        async def work() -> None:
            async with BlockingConnection(connection).transaction():
                connection.execute("SELECT 1")
                from_thread.run_sync(scope.cancel)

        with anyio.CancelScope() as scope:
            await in_worker(work)
        assert scope.cancel_called
        assert connection.info.transaction_status == TransactionStatus.IDLE


@pytest.mark.usefixtures("programs")
async def test_each_application_runs_in_a_process_of_its_own(
    env: dict[str, str], tmp_path: Path
) -> None:
    def run(name: str) -> AbstractAsyncContextManager[Child]:
        command = ("run", "tests.hosting.tallying:chain")
        chosen = [part for app in name.split() for part in ("--only", app)]
        return child(
            env, tmp_path / name, "compose", *command, *chosen, module="eventsourcing_kafka"
        )

    async with run("DogSchool Bottom") as ends, run("Left") as middle:
        with DogSchool(env) as school, Left(env) as left:
            await to_thread.run_sync(teach, school)
            await until(lambda: is_so(counts(left) == [4, 4, 4]))
        for process in (ends, middle):
            process.send(signal.SIGTERM)
            assert await process.ends() == 0


@pytest.mark.usefixtures("programs")
async def test_a_system_that_is_run_before_its_database_waits_for_it(
    env: dict[str, str], database: Callable[[str], str], token: str, tmp_path: Path
) -> None:
    command = ("run", "tests.hosting.tallying:chain")
    early = {**env, "LEFT_POSTGRES_DBNAME": f"{token}_late"}
    async with child(
        early, tmp_path / "log", "compose", *command, module="eventsourcing_kafka"
    ) as process:
        await process.says("the system: waiting for its server: .*does not exist")
        await to_thread.run_sync(database, "late")
        with construct(DogSchool, early) as school, construct(Left, early) as left:
            await to_thread.run_sync(teach, school)
            await until(lambda: is_so(counts(left) == [4, 4, 4]))
        process.send(signal.SIGTERM)
        assert await process.ends() == 0
