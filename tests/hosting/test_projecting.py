"""A projection that runs as a process, alone on its machine, and how it is operated."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from typer.testing import CliRunner, Result

from eventsourcing_kafka.compose.command_line import app as compose
from eventsourcing_kafka.compose.monitor.overview import opened_sources
from eventsourcing_kafka.compose.runner import KafkaRunner
from eventsourcing_kafka.compose.servers.processes import free_port
from eventsourcing_kafka.compose.stack.details import opened_details
from eventsourcing_kafka.compose.stack.display import answer_of
from eventsourcing_kafka.consumer.command_line import app as consumer
from eventsourcing_kafka.consumer.engine.store import NotReplayableError
from eventsourcing_kafka.consumer.followers import followers_of, opened_each
from eventsourcing_kafka.consumer.hosting.systems import InMemoryError
from eventsourcing_kafka.producer.runtime.construct import construct_view
from eventsourcing_kafka.producer.runtime.health import Down
from eventsourcing_kafka.producer.runtime.pipeline import read_pipeline
from eventsourcing_kafka.producer.runtime.postgres import PostgresUnreachableError
from examples.dogschool.application import DogSchool
from tests.operations.child import Child, child
from tests.pipeline import ROOT, SECONDS

from . import nursing
from .nursing import MENDED, clinic
from .test_low_water import dogs_of_other_partitions

Env = dict[str, str]

HOST = "127.0.0.1"
VIEW = "squeamish_dogschool"
PARTITIONS = 8
"""Of a topic for which nobody says how many."""
AWAY = {"DOGSCHOOL_POSTGRES_HOST": HOST, "DOGSCHOOL_POSTGRES_PORT": "1"}
"""The write model's database is out of reach."""


@pytest.fixture(params=["postgres_view", "sqlite_view"])
def topic(request: pytest.FixtureRequest) -> str:
    """The projection."""
    return f"tests.hosting.nursing:{request.param}"


@pytest.fixture
def alone(topic: str, env: Env, tmp_path: Path) -> Env:
    """The settings of the machine that the projection is alone on."""
    if "sqlite" not in topic:
        return {**env, **AWAY}
    module, dbname = "eventsourcing.sqlite", str(tmp_path / "squeamish")
    stored = {"SQUEAMISH_PERSISTENCE_MODULE": module, "SQUEAMISH_SQLITE_DBNAME": dbname}
    return {**env, **AWAY, **stored}


@contextmanager
def opened_view(topic: str, env: Env) -> Iterator[Any]:
    view_class = getattr(nursing, topic.partition(":")[2]).view_class
    factory, view = construct_view("squeamish", env, view_class)
    with closing(factory):
        yield view


def run(topic: str, env: Env, log: Path, *arguments: str) -> AbstractAsyncContextManager[Child]:
    return child(env, log, "compose", "run", topic, *arguments, module="eventsourcing_kafka")


def invoke(app: Any, env: Env, *arguments: str) -> Result:
    return CliRunner(env={**env, "COLUMNS": "300"}).invoke(app, arguments)


def told_by(env: Env, *arguments: str) -> str:
    """Return what a command of ours says, in a process of its own."""
    command = [sys.executable, "-m", "eventsourcing_kafka", "consumer", *arguments]
    environment = {**os.environ, "COLUMNS": "300", "PYTHONPATH": str(ROOT), **env}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.usefixtures("programs")
async def test_it_needs_no_more_than_kafka_and_its_view_and_parks_what_it_can_not_take(
    topic: str, env: Env, alone: Env, tmp_path: Path
) -> None:
    port = free_port()
    metrics = ("--metrics-port", str(port), "--metrics-host", HOST)
    system = ("--system", topic)

    def teach() -> int:
        with KafkaRunner(clinic, env, only=["DogSchool"]) as runner:
            school = runner.get(DogSchool)
            school.register_dog("Billy")
            for trick in ("beg", "poison", "sit"):
                position = school.add_trick("Billy", trick)
            for name in dogs_of_other_partitions("Billy", PARTITIONS):
                school.register_dog(name)
                position = school.add_trick(name, "beg")
            runner.wait()
            return position

    def look(position: int) -> None:
        with opened_view(topic, alone) as view:
            view.wait("DogSchool", position, timeout=SECONDS)
            assert (view.get_count("beg"), view.get_count("sit")) == (8, 0)
            first, _behind = json.loads(told_by(alone, "parked", "list", "--json", *system))
            assert first["reason"] == "CannotTakeError: poison"
            status = json.loads(told_by(alone, "status", "--json", *system))
            assert sum(row["parked"] for row in status) == 2

            connection = HTTPConnection(HOST, port, timeout=20)
            connection.request("GET", "/metrics")
            told = connection.getresponse().read().decode()
            connection.close()
            assert re.search(rf'view_parked{{partition="\d",view="{VIEW}"}} 2.0', told)

            with opened_sources(alone, system=topic) as sources:
                overview = anyio.run(sources.read)
            assert isinstance(overview.heads["DogSchool"], Down)
            assert not isinstance(overview.topics["DogSchool"], Down)
            assert not isinstance(overview.views[VIEW], Down)

            assert "2 applied" in told_by(alone | MENDED, "parked", "retry", "--all", *system)
            assert (view.get_count("poison"), view.get_count("sit")) == (1, 1)

    async with run(topic, alone, tmp_path / "log", *metrics) as process:
        position = await to_thread.run_sync(teach)
        await to_thread.run_sync(look, position)
        process.send(signal.SIGTERM)
        assert await process.ends() == 0


def test_why_its_database_can_not_be_reached_is_said_at_once(env: Env) -> None:
    closed = {**env, "SQUEAMISH_POSTGRES_HOST": HOST, "SQUEAMISH_POSTGRES_PORT": "1"}
    system = ("--system", "tests.hosting.nursing:postgres_view")
    result = invoke(consumer, closed, "status", *system)
    assert "refused" in str(result.exception)  # The library tries for long, and says nothing.


@pytest.fixture
def one_is_broken(tmp_path: Path) -> Path:
    """A pipeline with a follower that can't be constructed, and one that can."""
    file = tmp_path / "pipeline.toml"
    file.write_text("""
[applications]
DogSchool = "examples.dogschool.application:DogSchool"
[followers]
squeamish = "tests.hosting.nursing:postgres_view"
unhappy = "tests.hosting.nursing:unmade_view"
""")
    return file


BROKEN = (
    "unhappy_dogschool (tests.hosting.nursing:unmade_view) can't be constructed: "
    "AttributeError: 'str' object has no attribute 'as_string'"
)


async def test_a_follower_that_can_not_be_constructed_is_down_and_the_others_are_not(
    env: Env, one_is_broken: Path
) -> None:
    pipeline = read_pipeline(one_is_broken)

    with opened_sources(env, pipeline=pipeline) as sources:
        overview = await sources.read()
    with opened_details(env, pipeline) as details:
        answers = [await answer_of(details[f"follower {name}"]) for name in pipeline.followers]

    assert not isinstance(overview.views[VIEW], Down)
    assert overview.views["unhappy_dogschool"] == Down(f"BrokenFollowerError: {BROKEN}")
    assert not overview.healthy
    assert "unknown" not in answers[0]
    assert answers[1] == f"unknown: {BROKEN}"


def test_the_status_of_the_others_is_told_beside_what_is_broken(
    env: Env, one_is_broken: Path
) -> None:
    result = invoke(consumer, env, "status", "--with", str(one_is_broken))

    assert result.exit_code == 1
    assert BROKEN in result.stderr


async def test_a_follower_is_opened_once_its_database_is_back(
    env: Env, one_is_broken: Path
) -> None:
    followers = followers_of([VIEW], pipeline=read_pipeline(one_is_broken))
    settings = {**env, "SQUEAMISH_POSTGRES_PORT": "1"}

    with opened_each(followers, settings) as found:
        assert list(found.broken) == [VIEW]
        with pytest.raises(PostgresUnreachableError):
            await found.opened_again(VIEW)
        found.settings = env
        assert (await found.opened_again(VIEW)).view.name == VIEW


def test_what_is_in_memory_is_refused_as_a_process(env: Env) -> None:
    stored = {**env, "SQUEAMISH_PERSISTENCE_MODULE": "eventsourcing.popo"}
    result = invoke(compose, stored, "run", "tests.hosting.nursing:memory_view")
    assert isinstance(result.exception, InMemoryError)


@pytest.mark.usefixtures("programs")
async def test_it_is_replayed_while_it_runs_where_its_view_says_how_it_is_emptied(
    env: Env, tmp_path: Path
) -> None:
    topic = "tests.hosting.nursing:postgres_view"
    system = ("--system", topic)

    def teach(trick: str) -> int:
        with KafkaRunner(clinic, env, only=["DogSchool"]) as runner:
            school = runner.get(DogSchool)
            for name in ("Billy", *dogs_of_other_partitions("Billy", PARTITIONS)):
                if trick == "beg":
                    school.register_dog(name)
                position = school.add_trick(name, trick)
            runner.wait()
            return position

    def look(position: int, counts: dict[str, int]) -> None:
        with opened_view(topic, env) as view:
            view.wait("DogSchool", position, timeout=SECONDS)
            assert {trick: view.get_count(trick) for trick in counts} == counts

    def replay() -> None:
        assert "applied again" in told_by(env, "replay", VIEW, "--yes", *system)

    async with run(topic, env, tmp_path / "log") as process:
        position = await to_thread.run_sync(teach, "beg")
        await to_thread.run_sync(look, position, {"beg": 8, "sit": 0})
        await to_thread.run_sync(replay)
        await to_thread.run_sync(look, position, {"beg": 8, "sit": 0})
        position = await to_thread.run_sync(teach, "sit")
        await to_thread.run_sync(look, position, {"beg": 8, "sit": 8})
        process.send(signal.SIGTERM)
        assert await process.ends() == 0


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("kept_view", "no method empty_for_replay"),
        ("sqlite_view", "delete the file"),
        ("postgres_view", "emptied as a whole"),
    ],
)
def test_a_replay_is_refused_with_advice_where_the_view_does_not_say_how(
    name: str, advice: str, env: Env, tmp_path: Path
) -> None:
    if name == "sqlite_view":
        env = {**env, "SQUEAMISH_PERSISTENCE_MODULE": "eventsourcing.sqlite"}
        env["SQUEAMISH_SQLITE_DBNAME"] = str(tmp_path / "squeamish")
    system = ("--system", f"tests.hosting.nursing:{name}")
    partly = ("--partition", "0") if name == "postgres_view" else ()
    result = invoke(consumer, env, "replay", VIEW, "--yes", *partly, *system)
    assert isinstance(result.exception, NotReplayableError)
    assert advice in str(result.exception)
