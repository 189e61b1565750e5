"""What an embedded Kafka and an embedded Postgres have in common."""

import contextlib
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import anyio
import anyio.to_thread
import psutil

from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.servers.processes import (
    SERVER_FILE,
    SupervisedProcess,
    describe_exit,
    free_port,
    kill,
    lock_folder,
    process_in,
    process_tree,
    require_free,
    tail,
    write_process_file,
)


@dataclass(frozen=True)
class Launch:
    """How to start a server: the command, and the user when it is not to be ours."""

    command: Sequence[str]
    user: str | None = None


class Server(anyio.AsyncContextManagerMixin, ABC):
    """One server process over one data folder, up while its context is entered.

    The folder belongs to us while the context lasts. A server that a killed run left in
    it is ended first, and whatever that run left half done is done again. Inside the
    context the server may be killed, stopped and started again, on the same port and data.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]  # asks for a clean stop
    orphan_signal: ClassVar[signal.Signals]  # what it gets when we are killed
    start_seconds: ClassVar[float] = 90.0  # seconds until it must answer

    def __init__(self, data: Path, *, port: int | None = None) -> None:
        self.data = data.absolute()
        self.log = self.data / f"{self.name.lower()}.log"
        self.port = port or free_port()
        self.should_run = False  # between start and stop: an end in between is not ours
        self._process: SupervisedProcess | None = None
        self._log_start = 0

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncIterator[Self]:
        with lock_folder(self.data):
            try:
                await self.start()
                yield self
            finally:
                with anyio.CancelScope(shield=True):
                    await self.stop()

    @abstractmethod
    async def prepare(self) -> Launch:
        """Make the data folder ready, as far as it is not, and say how to start."""

    @abstractmethod
    async def is_ready(self) -> bool:
        """Whether it serves clients."""

    @property
    def pid(self) -> int | None:
        """The process, or None while there is none."""
        return self._process.pid if self._process and self.running else None

    @property
    def running(self) -> bool:
        """Whether there is a process, answering or not."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises StackError, with the end of its log, when it does not come up.
        """
        if self.running:
            return
        await self._end_leftover()
        require_free(self.port, f"--{self.name.lower()}-port")
        launch = await self.prepare()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process = await SupervisedProcess.start(
            launch.command, log=self.log, user=launch.user, stop_signal=self.orphan_signal
        )
        self.should_run = True
        write_process_file(self._process_file, self._process.pid)
        with anyio.move_on_after(self.start_seconds):
            await self._wait_until_ready(self._process)
            return
        await self._process.end(signal.SIGKILL, 0)
        raise self._failure(f"{self.name} did not answer within {self.start_seconds:.0f} seconds")

    async def stop(self, within: float = 10.0) -> None:
        """Ask it to stop cleanly, and kill it when it has not after `within` seconds."""
        await self._end(self.stop_signal, within)

    async def kill(self) -> None:
        """End it without a warning, as a crash does (SIGKILL)."""
        await self._end(signal.SIGKILL, 0)

    def pause(self) -> None:
        """Let it hang: its connections stay open and nothing moves (SIGSTOP)."""
        self._for_each_process(psutil.Process.suspend)

    def resume(self) -> None:
        """Let it go on after `pause` (SIGCONT)."""
        self._for_each_process(psutil.Process.resume)

    def new_log(self) -> str:
        """Return the last lines that this start has logged."""
        return tail(self.log, since=self._log_start)

    def has_logged(self, words: str) -> bool:
        """Tell whether this start has logged some words, however long ago."""
        if not self.log.exists():
            return False
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return words.encode() in log.read()

    def _for_each_process(self, act: Callable[[psutil.Process], None]) -> None:
        for process in process_tree(self.pid) if self.pid else ():
            with contextlib.suppress(psutil.NoSuchProcess):  # a session that has just ended
                act(process)

    async def _wait_until_ready(self, process: SupervisedProcess) -> None:
        while not await self.is_ready():
            if process.returncode is not None:
                how = describe_exit(await process.wait())
                raise self._failure(f"{self.name} {how} while starting")
            await anyio.sleep(0.02)

    async def _end(self, stop_signal: signal.Signals, within: float) -> None:
        self.should_run = False
        if self._process:
            await self._process.end(stop_signal, within)
            self._process_file.unlink(missing_ok=True)

    async def _end_leftover(self) -> None:
        """End the server that a killed run left behind, should its guard be dead as well."""
        left: psutil.Process | None = process_in(self._process_file)
        if left:
            await anyio.to_thread.run_sync(kill, process_tree(left.pid))

    @property
    def _process_file(self) -> Path:
        return self.data / SERVER_FILE

    def _failure(self, what: str) -> StackError:
        return StackError(f"{what}. Its log, {self.log}, ends:\n{self.new_log()}")
