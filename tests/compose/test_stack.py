import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import anyio
import httpx2
import psutil
import psycopg
import pytest

from eventsourcing_kafka.compose.pipeline.files import DOCKERIGNORE
from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.servers.processes import is_alive, write_process_file
from eventsourcing_kafka.compose.servers.service import Service
from eventsourcing_kafka.compose.stack.parts import checked_parts
from eventsourcing_kafka.compose.stack.stack import Stack, running_stack, running_stacks

COMPOSE = [sys.executable, "-m", "eventsourcing_kafka", "compose"]


@pytest.fixture(autouse=True)
def no_other_stacks(programs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the stacks of the user who runs the tests out of them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)


def compose(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [*COMPOSE, *arguments], capture_output=True, text=True, check=False, env=environment
    )


class Up:
    """`compose up` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMPOSE, "up", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []

    def until(self, text: str) -> str:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(line)
            if text in line:
                return line
        raise AssertionError("".join(self.said))

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        with self.process:
            return self.process.wait(40)


def running_on(folder: Path) -> list[psutil.Process]:
    """Find the living processes that were given a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        named = any(str(folder) in argument for argument in process.info["cmdline"] or ())
        if named and is_alive(process):
            found.append(process)
    return found


def wait_until_gone(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while running_on(folder):
        assert time.monotonic() < deadline, running_on(folder)
        time.sleep(0.05)


@pytest.fixture
def up() -> Iterator[list[Up]]:
    """The started ones, of which none is left at the end."""
    started: list[Up] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGTERM)


def test_up_and_env_and_a_tool_and_ctrl_c(tmp_path: Path, up: list[Up]) -> None:
    data = tmp_path / "data"
    up.append(Up("--data", str(data), "--only", "kafka,postgres,web"))
    up[0].until("eval")
    address = up[0].until("In a browser:").split()[-1]
    assert httpx2.get(address).status_code == 200

    names = "$POSTGRES_HOST $FTS_POSTGRES_DBNAME $PERSISTENCE_MODULE"
    script = f'eval "$({sys.executable} -m eventsourcing_kafka compose env)"; echo {names}'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout.split() == ["127.0.0.1", "fts", "eventsourcing.postgres"]

    environment = json.loads(compose("env", "--json", "--data", str(data)).stdout)
    port = environment["POSTGRES_PORT"]
    made = compose("kafka", "topics", "--create", "--topic", "made")
    assert (made.returncode, made.stdout) == (0, "Created topic made.\n")
    refused = compose("kafka", "topics", "--create", "--topic", "made")
    assert refused.returncode == 1

    second = compose("up", "--data", str(data))
    assert second.returncode == 1
    assert f"is in use by process {up[0].process.pid}" in second.stderr
    taken = compose("up", "--only", "postgres", "--postgres-port", port)
    assert taken.returncode == 1
    assert f"port {port} is in use by process" in taken.stderr
    port = address.rpartition(":")[2]
    taken = compose("up", "--only", "kafka,postgres,web", "--web-port", port)
    assert taken.returncode == 1
    assert f"port {port} is in use by process" in taken.stderr
    assert "(--web-port)" in taken.stderr

    assert up[0].end(signal.SIGINT) == 0
    assert not running_on(data)
    none = compose("env")
    assert (none.returncode, none.stdout) == (1, "")
    assert "no stack runs: start one with" in none.stderr


def test_a_killed_stack_leaves_no_process_and_its_data_is_taken_up_again(
    tmp_path: Path, up: list[Up]
) -> None:
    data = tmp_path / "data"
    up.append(Up("--data", str(data), "--only", "kafka,postgres"))
    up[0].until("eval")
    compose("kafka", "topics", "--create", "--topic", "kept")
    assert running_on(data)
    up[0].end(signal.SIGKILL)
    wait_until_gone(data)
    assert compose("env").returncode == 1

    up.append(Up("--data", str(data), "--only", "kafka,postgres"))
    up[1].until("eval")
    assert compose("kafka", "topics", "--list").stdout == "kept\n"
    assert up[1].end(signal.SIGTERM) == 0


def test_temporary_data_goes_also_after_a_kill(up: list[Up]) -> None:
    up.append(Up("--only", "postgres"))
    data = Path(up[0].until("Data in").split()[2].rstrip(","))
    up[0].until("eval")
    up[0].end(signal.SIGKILL)
    assert data.exists()

    up.append(Up("--only", "postgres"))
    assert "removed at the end" in up[1].until("Data in")
    up[1].until("eval")
    assert not data.exists()
    wait_until_gone(data)
    up[1].end(signal.SIGINT)


def test_an_interrupted_start_is_told_by_the_exit_code(tmp_path: Path, up: list[Up]) -> None:
    up.append(Up("--data", str(tmp_path / "data"), "--only", "kafka"))
    up[0].until("starting")
    assert up[0].end(signal.SIGINT) == 130
    assert not running_on(tmp_path / "data")


async def test_a_stack_is_a_context_whose_servers_come_back_by_themselves(tmp_path: Path) -> None:
    async with Stack(tmp_path / "data", only=["postgres"]) as stack:
        killed = stack.postgres.pid
        assert killed
        os.kill(killed, signal.SIGKILL)
        with anyio.fail_after(20):
            while stack.postgres.pid in {killed, None}:  # noqa: ASYNC110 - nothing tells us
                await anyio.sleep(0.05)
            while not await stack.postgres.is_ready():  # noqa: ASYNC110
                await anyio.sleep(0.05)
        async with await psycopg.AsyncConnection.connect(stack.postgres.dsn("fts")) as session:
            await session.execute("SELECT 1")
        [found] = running_stacks()
        assert found.environment == stack.environment()
        assert not in_an_image(stack.data)
    assert running_stacks() == []


def in_an_image(data: Path) -> list[Path]:
    """Return what of a data folder would go into an image that is built of the folder it is in."""
    left_out = [line.removeprefix("**/") for line in DOCKERIGNORE.splitlines() if "**/" in line]
    assert left_out
    return [
        file
        for file in data.rglob("*")
        if file.is_file()
        and not any(each.match(name) for each in (file, *file.parents) for name in left_out)
    ]


def test_several_stacks_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    stacks = tmp_path / "eventsourcing-kafka" / "stacks"
    stacks.mkdir(parents=True)
    for name in ("a", "b"):
        environment = {"KAFKA_BOOTSTRAP_SERVERS": name}
        write_process_file(
            stacks / f"{name}.json",
            os.getpid(),
            data=f"/data/{name}",
            temporary=False,
            environment=environment,
        )
    with pytest.raises(StackError, match=r"2 stacks run: choose one with --data, of /data/"):
        running_stack()
    assert running_stack(Path("/data/b")).environment == {"KAFKA_BOOTSTRAP_SERVERS": "b"}
    with pytest.raises(StackError, match=r"no stack runs on /data/c"):
        running_stack(Path("/data/c"))


def test_parts_that_are_not_there_or_lack_their_servers_are_refused() -> None:
    with pytest.raises(StackError, match=r"no part 'zookeeper': there are kafka, postgres, relay"):
        checked_parts(["kafka", "zookeeper"])
    with pytest.raises(StackError, match=r"'relay' needs kafka and postgres"):
        checked_parts(["kafka", "relay"])
    assert compose("up", "--only", "zookeeper").returncode == 2


def service(tmp_path: Path, program: str, environment: Mapping[str, str]) -> Service:
    (tmp_path / "program.py").write_text(program)
    variables = {**environment, "PYTHONPATH": str(tmp_path)}
    return Service(
        "program", [sys.executable, "-m", "program"], tmp_path / "program.log", variables
    )


def said(program: Service) -> str:
    return program.log.read_text() if program.log.exists() else ""


async def test_a_service_that_ends_is_shown_and_started_again(tmp_path: Path) -> None:
    program = service(tmp_path, "raise SystemExit('out of luck')", os.environ)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(program.keep)
        with anyio.fail_after(20):
            while said(program).count("out of luck") < 2:  # noqa: ASYNC110 - nothing tells us
                await anyio.sleep(0.05)
        assert program.log_tail == "out of luck"
        tasks.cancel_scope.cancel()


async def test_a_service_is_stopped_with_sigterm(tmp_path: Path) -> None:
    waits = "import signal; print('up', flush=True); signal.sigwait({15}); print('bye')"
    program = service(
        tmp_path, "import signal; signal.pthread_sigmask(0, {15})\n" + waits, os.environ
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(program.keep)
        with anyio.fail_after(20):
            while "up" not in said(program):  # noqa: ASYNC110
                await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    assert said(program) == "up\nbye\n"
