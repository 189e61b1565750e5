"""Processes that do not outlive their supervisor, the folders they own and the ports they take.

Three things keep a machine clean after a crash. A guard beside each process ends it when
the supervisor dies. A lock on each data folder, dropped by the kernel with its holder,
tells a living owner from a dead one. A file about each server's process lets the next owner
end what a dead owner and a dead guard left behind.
"""

import contextlib
import fcntl
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.abc
import anyio.to_thread
import psutil

from eventsourcing_kafka.compose.servers import guard
from eventsourcing_kafka.compose.servers.errors import StackError

HOST = "127.0.0.1"
"""Everything listens on the loopback only."""

LOCK_FILE = "owner.lock"
"""In each data folder: who owns it holds it locked, and is written there."""
SERVER_FILE = "server.json"
"""In a server's data folder: its process."""

_LOG_LIMIT = 20_000_000  # bytes, after which a log is put aside at the next start


class SupervisedProcess:
    """A process in a group of its own, ended when we end, whichever way that is."""

    def __init__(self, process: anyio.abc.Process, watcher: anyio.abc.Process) -> None:
        self._process = process
        self._guard = watcher

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGKILL,
    ) -> Self:
        """Start a command that appends its output to `log`.

        `stop_signal` is the signal that it gets when we are killed.
        """
        with anyio.CancelScope(shield=True), _appended(log) as output:
            process = await anyio.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,  # Ctrl-C is for us: we stop things in order
                **as_user(user),
            )
            watcher = await anyio.open_process(
                [sys.executable, "-I", "-S", guard.__file__, f"{process.pid}", f"{stop_signal:d}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        return cls(process, watcher)

    @property
    def pid(self) -> int:
        """The process, which leads a group of the same number."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end and return the exit code."""
        code = await self._process.wait()
        with anyio.CancelScope(shield=True):
            await self._dismiss()
        return code

    async def end(self, stop_signal: signal.Signals, within: float) -> int:
        """Send the signal, and SIGKILL to the whole tree when it is still there after `within`."""
        tree = process_tree(self.pid) if self.returncode is None else []
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(within), contextlib.suppress(ProcessLookupError):
                self._process.send_signal(stop_signal)
                self._process.send_signal(signal.SIGCONT)  # a stopped process hears nothing
                await self._process.wait()
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            code = await self.wait()
            await anyio.to_thread.run_sync(kill, tree[1:])
        return code

    async def _dismiss(self) -> None:
        """Tell the guard that there is nothing left to do."""
        assert self._guard.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._guard.stdin.send(b".")
        await self._guard.stdin.aclose()
        await self._guard.wait()


def as_user(user: str | None) -> dict[str, Any]:
    """Return the arguments that make a child process another user's, with none of our groups."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": ()}


@contextmanager
def _appended(log: Path) -> Iterator[int]:
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(f"{log}.1")
    with log.open("ab") as file:
        yield file.fileno()


def process_tree(pid: int) -> list[psutil.Process]:
    """Return a process, first, and its descendants, as far as they live."""
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(processes: Sequence[psutil.Process], *, within: float = 10) -> None:
    """Kill processes that are no children of ours, and wait until they are gone.

    A number that has been given to a new process since is left alone.
    """
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + within
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.01)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that only waits for its parent to take note does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def same_process(pid: int, created: float) -> psutil.Process | None:
    """Return the living process of that number and birth, which is no later one of its number."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < 1
    except psutil.NoSuchProcess:
        return None
    return process if same and is_alive(process) else None


def write_process_file(path: Path, pid: int, **more: object) -> None:
    """Write down a process so that `process_in` finds it again, and no later one of its number."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(
        json.dumps({"pid": pid, "created": psutil.Process(pid).create_time(), **more}, indent=2)
    )
    new.replace(path)


def process_in(path: Path) -> psutil.Process | None:
    """Return the process written down in a file, if it is alive."""
    try:
        written = json.loads(path.read_text())
        return same_process(written["pid"], written["created"])
    except (FileNotFoundError, ValueError, KeyError):
        return None


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Own a data folder, making it if it is not there.

    Raises StackError when another living process owns it, when it holds something else,
    and when it can't be written. The claim ends with the process, also when it is killed.
    """
    lock = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not lock.exists() and any(folder.iterdir()):
            raise StackError(
                f"{folder} holds other files: give an empty folder, a new one,"
                " or one that was made here before"
            )
        file = os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o644), "r+")
    except OSError as error:
        raise StackError(
            f"{folder} can't be used for data ({error.strerror}): give a folder that you may write"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"{folder} is in use by process {file.read().strip() or 'unknown'}:"
                " stop that first, or give another folder"
            ) from None
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def remove_ownerless(folder: Path) -> None:
    """Remove a data folder that a killed owner has left, and end what still runs in it.

    One that has an owner stays.
    """
    with contextlib.suppress(StackError), lock_folder(folder):
        for server in (folder / SERVER_FILE, *folder.glob(f"*/{SERVER_FILE}")):
            left = process_in(server)
            kill(process_tree(left.pid) if left else [])
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port on which nothing listens.

    It lies below the ports that kernels hand out to clients: a client that keeps trying a
    port of theirs while our server is down may be connected to itself, and hold the port.
    """
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - not a secret
        if is_free(port):
            return port


def require_free(port: int, option: str) -> None:
    """Raise StackError, naming who listens there, when a port is taken."""
    if not is_free(port):
        raise StackError(
            f"port {port} is in use{_listener(port)}: stop that, or give another port ({option})"
        )


def is_free(port: int) -> bool:
    """Whether nothing listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _listener(port: int) -> str:
    """Say which process listens on a port, if we may know."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            here = connection.laddr and connection.laddr.port == port
            if here and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""


def describe_exit(code: int) -> str:
    """Say how a process has ended."""
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def output_of(result: subprocess.CompletedProcess[bytes]) -> str:
    """Return what a command has printed, but for the frames of Java's stack traces."""
    return "\n".join(_frameless(result.stdout + result.stderr))


def _frameless(output: bytes) -> list[str]:
    lines = output.decode(errors="replace").strip().splitlines()
    return [line for line in lines if not line.startswith("\tat ")]


def tail(log: Path, *, since: int = 0, lines: int = 12) -> str:
    """Return the last lines that a log has got after the byte `since`, as `output_of` does."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - 16_384))
            return "\n".join(_frameless(file.read())[-lines:])
    except FileNotFoundError:
        return ""
