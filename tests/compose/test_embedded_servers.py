import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import psutil
import psycopg
import pytest
import requests

from eventsourcing_kafka.compose.servers import aot, jars
from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.servers.kafka import Kafka, cluster, new_cluster_id, tool_command
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.servers.processes import (
    free_port,
    is_alive,
    lock_folder,
    require_free,
    same_process,
)


@pytest.fixture
def folder(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "new"


async def gone(process: psutil.Process) -> None:
    with anyio.fail_after(15):
        while is_alive(process):  # noqa: ASYNC110 - nothing tells us
            await anyio.sleep(0.02)


async def value_in(postgres: Postgres, query: str) -> object:
    async with await psycopg.AsyncConnection.connect(postgres.dsn(), autocommit=True) as session:
        cursor = await session.execute(query)
        row = await cursor.fetchone() if cursor.description else None
        return row[0] if row else None


async def test_postgres_keeps_its_data_through_kill_immediate_stop_and_a_new_owner(
    folder: Path,
) -> None:
    async with Postgres(folder) as postgres:
        await value_in(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
        await postgres.kill()
        assert postgres.pid is None
        await postgres.start()
        assert await value_in(postgres, "SELECT answer FROM kept") == 42
        await postgres.stop(immediate=True)
        await postgres.start()
        assert await value_in(postgres, "SELECT answer FROM kept") == 42
    async with Postgres(folder) as postgres:
        assert await value_in(postgres, "SELECT answer FROM kept") == 42


async def test_postgres_has_the_settings_that_it_is_given(folder: Path) -> None:
    async with Postgres(folder, settings={"fsync": "off"}) as postgres:
        assert await value_in(postgres, "SHOW fsync") == "off"
        assert await value_in(postgres, "SHOW listen_addresses") == "127.0.0.1"
        assert await value_in(postgres, "SHOW server_encoding") == "UTF8"


async def test_a_cluster_of_another_major_version_is_refused(folder: Path) -> None:
    async with Postgres(folder):
        pass
    (folder / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(StackError, match=r"holds a cluster of Postgres 17, and this is 18"):
        async with Postgres(folder):
            pass


async def test_a_stale_lock_with_a_number_in_use_does_not_keep_postgres_down(folder: Path) -> None:
    async with Postgres(folder) as postgres:
        lock = folder / "cluster" / "postmaster.pid"
        lines = lock.read_text().split("\n")
        await postgres.stop()
        lock.write_text("\n".join([str(os.getpid()), *lines[1:]]))
        await postgres.start()
        assert await value_in(postgres, "SELECT 1") == 1


async def test_a_cluster_that_was_half_made_is_made_again(folder: Path) -> None:
    with lock_folder(folder):
        (folder / "cluster.new").mkdir()
        (folder / "cluster.new" / "PG_VERSION").write_text("18\n")
    async with Postgres(folder) as postgres:
        assert await value_in(postgres, "SELECT 1") == 1


async def test_a_paused_server_hangs_and_goes_on(folder: Path) -> None:
    async with Postgres(folder) as postgres:
        postgres.pause()
        with anyio.move_on_after(0.3) as scope:
            await value_in(postgres, "SELECT 1")
        assert scope.cancelled_caught
        postgres.resume()
        assert await value_in(postgres, "SELECT 1") == 1


async def test_kafka_keeps_its_data_through_kill_and_stop(folder: Path) -> None:
    async with Kafka(folder) as kafka:
        first = kafka.pid
        await kafka.tool("topics", "--create", "--topic", "kept", "--partitions", "3")
        await kafka.kill()
        assert kafka.pid is None
        await kafka.start()
        assert kafka.pid != first
        await kafka.stop()
        await kafka.start()
        assert (await kafka.tool("topics", "--list")).split() == ["kept"]


async def test_the_storage_of_another_cluster_is_refused(folder: Path) -> None:
    (folder / "storage").mkdir(parents=True)
    (folder / "owner.lock").touch()
    (folder / "storage" / "meta.properties").write_text("node.id=1\ncluster.id=theirs\n")
    with pytest.raises(StackError, match=r"holds node 1 of the Kafka cluster theirs"):
        async with Kafka(folder, cluster_id=new_cluster_id()):
            pass


async def test_a_broker_that_does_not_come_up_says_why(folder: Path) -> None:
    with pytest.raises(StackError, match=r"(?s)ended with exit code 1 .*no\.such\.Class"):
        async with Kafka(folder, properties={"authorizer.class.name": "no.such.Class"}):
            pass


async def test_three_brokers_are_a_cluster(folder: Path) -> None:
    async with cluster(folder, heap="256m") as brokers:
        await brokers[0].tool("topics", "--create", "--topic", "replicated")
        shown = await brokers[2].tool("topics", "--describe", "--topic", "replicated")
        for broker in brokers:
            await broker.kill()
    assert "ReplicationFactor: 3" in shown
    assert "min.insync.replicas=2" in shown


@pytest.mark.usefixtures("programs")
async def test_kafkas_own_tools_run(kafka: Kafka, token: str) -> None:
    await kafka.tool("topics", "--create", "--topic", token, "--partitions", "2")
    assert await kafka.tool("get-offsets", "--topic", token) == f"{token}:0:0\n{token}:1:0\n"
    assert "Cluster ID: " in await kafka.tool("cluster", "cluster-id")
    assert str(kafka.port) in await kafka.tool("cluster", "list-endpoints")
    with pytest.raises(StackError, match=r"kafka topics failed with exit code 1"):
        await kafka.tool("topics", "--create", "--topic", token)


def test_an_unknown_tool_is_answered_with_the_nearest_ones_first() -> None:
    with pytest.raises(StackError, match=r"no tool 'consumer-group' here.*: consumer-groups, "):
        tool_command("consumer-group", [])


def test_the_server_is_filled_in_where_it_is_needed_and_not_given() -> None:
    def arguments(name: str, *given: str) -> list[str]:
        command = tool_command(name, given, lambda: "host:1")
        return command[command.index("-cp") + 3 :]

    assert arguments("topics", "--list") == ["--bootstrap-server", "host:1", "--list"]
    assert arguments("topics", "--bootstrap-server", "h:2") == ["--bootstrap-server", "h:2"]
    assert arguments("cluster", "cluster-id") == ["cluster-id", "--bootstrap-server", "host:1"]
    assert arguments("topics", "--help") == ["--help"]
    assert arguments("kafka-dump-log.sh", "--files", "f") == ["--files", "f"]


async def test_a_folder_in_use_is_refused_naming_the_owner(folder: Path) -> None:
    with (
        lock_folder(folder),
        pytest.raises(StackError, match=f"is in use by process {os.getpid()}"),
        lock_folder(folder),
    ):
        pass


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StackError, match=r"holds other files"), lock_folder(tmp_path):
        pass


def test_a_folder_that_can_not_be_made_is_refused() -> None:
    with (
        pytest.raises(StackError, match=r"can't be used for data"),
        lock_folder(Path("/dev/null/x")),
    ):
        pass


async def test_a_port_in_use_is_named_with_who_uses_it() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        port = server.getsockname()[1]
        said = rf"port {port} is in use by process {os.getpid()} .*--kafka-port"
        with pytest.raises(StackError, match=said):
            require_free(port, "--kafka-port")


def test_a_number_that_has_been_given_to_another_process_is_not_taken_for_the_first() -> None:
    created = psutil.Process().create_time()
    assert same_process(os.getpid(), created)
    assert same_process(os.getpid(), created - 100) is None


SUPERVISOR = """
import sys, anyio
from pathlib import Path
from eventsourcing_kafka.compose.servers.postgres import Postgres

async def main():
    async with Postgres(Path(sys.argv[1])) as postgres:
        print(postgres.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


def supervisor(folder: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, psutil.Process(int(process.stdout.readline()))


async def test_a_server_ends_with_its_killed_supervisor(folder: Path) -> None:
    process, server = supervisor(folder)
    with process:
        process.kill()
    await gone(server)
    async with Postgres(folder) as postgres:
        assert await value_in(postgres, "SELECT 1") == 1


async def test_a_server_left_by_a_dead_supervisor_and_a_dead_guard_is_ended_first(
    folder: Path,
) -> None:
    process, server = supervisor(folder)
    with process:
        [guard] = [
            child
            for child in psutil.Process(process.pid).children()
            if str(server.pid) in child.cmdline() and child != server
        ]
        guard.kill()
        process.kill()
    assert is_alive(server)
    async with Postgres(folder) as postgres:
        assert postgres.pid != server.pid
        await gone(server)


def no_network(*_: object, **__: object) -> None:
    raise ConnectionError("no network")


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a lock of one jar."""
    monkeypatch.setenv("EVENTSOURCING_KAFKA_CACHE", str(tmp_path))
    monkeypatch.setattr(requests, "request", no_network)
    digest = hashlib.sha256(b"whole").hexdigest()
    (tmp_path / "kafka.lock").write_text(f"# Of one.\ng:a:1 {digest}\n")
    (tmp_path / "repository/g/a/1").mkdir(parents=True)
    return tmp_path


def test_a_cut_download_is_not_taken_for_a_whole_one(cold: Path) -> None:
    jar = cold / "repository/g/a/1/a-1.jar"
    jar.write_bytes(b"who")
    with pytest.raises(StackError, match=r"(?s)could not be fetched.*needs the network"):
        jars.KAFKA.classpath(cold / "kafka.lock")
    assert not jar.exists()


def test_a_whole_jar_is_not_fetched_again_and_the_manifest_is_enough_later(cold: Path) -> None:
    jar = cold / "repository/g/a/1/a-1.jar"
    jar.write_bytes(b"whole")
    assert jars.KAFKA.classpath(cold / "kafka.lock") == str(jar)
    jar.write_bytes(b"not looked at again")
    assert jars.KAFKA.classpath(cold / "kafka.lock") == str(jar)


@pytest.mark.usefixtures("programs")
async def test_the_first_start_is_rehearsed_and_what_does_not_fit_is_passed_over(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = aot.kept().read_bytes()
    assert f"-XX:AOTCache={aot.kept()}" in psutil.Process(kafka.pid).cmdline()
    monkeypatch.setattr(aot, "kept", lambda: tmp_path / "kept.aot")
    middle = len(kept) // 2
    for damaged in (b"", kept[:middle], kept[:middle] + bytes(9999) + kept[middle + 9999 :]):
        aot.kept().write_bytes(damaged)
        assert await kafka.tool("storage", "random-uuid")


def test_another_process_that_rehearses_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTSOURCING_KAFKA_CACHE", str(folder.parent))
    with aot.keeping():
        with pytest.raises(BlockingIOError), aot.keeping():
            raise AssertionError
        assert not aot.options()
    # Java has kept nothing, and is not asked again.
    assert aot.options()


async def test_each_test_has_a_place_of_its_own(
    environment: dict[str, str], postgres: Postgres, database: Callable[[str], str]
) -> None:
    fts = environment["FTS_POSTGRES_DBNAME"]
    assert environment["CONTENTMANAGEMENT_POSTGRES_DBNAME"] != fts
    assert environment["KAFKA_TOPIC_PREFIX"].endswith(".")
    async with await psycopg.AsyncConnection.connect(postgres.dsn(fts)) as session:
        await session.execute("SELECT 1")
    assert database("another").endswith("_another")


async def test_a_broker_that_has_logged_a_lot_since_it_began_is_ready_still(tmp_path: Path) -> None:
    broker = Kafka(tmp_path)
    broker.log.write_text("Kafka Server started\n" + "WARN a line\n" * 10_000)

    assert await broker.is_ready()
