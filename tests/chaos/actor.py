"""Processes of the product that are ended and frozen on purpose, and started again."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

from eventsourcing_kafka.compose.servers.processes import SupervisedProcess, describe_exit, tail
from tests.chaos.logs import STARTS

RESTART_SECONDS = 0.3
STOP_SECONDS = 15.0
"""From SIGTERM to the end: the grace of a batch, and that of each client that says goodbye."""

FENCED = "Another relay for this application has taken over."
NOT_YET_LISTENING = -signal.SIGTERM
"""How Python ends that gets SIGTERM while it is still importing."""

Say = Callable[[str], None]


class Actor:
    """A command that is kept running. An end that nobody asked for is told to `complain`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        say: Say,
        complain: Say,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [sys.executable, "-m", *command]
        self._environment = {**os.environ, "COLUMNS": "500", **environment}
        self._say = say
        self._complain = complain
        self._process: SupervisedProcess | None = None
        self._asked_at: float | None = None
        self._asked: signal.Signals | None = None
        self._steps = anyio.Lock()
        self._retiring = False
        self._expected: list[str] = []
        self._said_so = anyio.Event()
        self._may_run = anyio.Event()
        self._may_run.set()
        self._retired = anyio.Event()

    async def keep(self) -> None:
        """Keep it running until it retires, or kill it when cancelled."""
        while not self._retiring:
            await self._may_run.wait()
            self._idle = anyio.Event()
            await self.once()
            self._idle.set()
            await anyio.sleep(RESTART_SECONDS)
        self._retired.set()

    async def retire(self) -> None:
        """Have it stopped for good."""
        self._retiring = True
        while not self._retired.is_set():
            await self.end(signal.SIGTERM)
            with anyio.move_on_after(STOP_SECONDS):
                await self._retired.wait()

    @asynccontextmanager
    async def resting(self) -> AsyncIterator[None]:
        """Kill it, and do not start it again meanwhile."""
        self._may_run = anyio.Event()
        while not self._idle.is_set():  # It may be about to start.
            await self.end(signal.SIGKILL)
            with anyio.move_on_after(RESTART_SECONDS):
                await self._idle.wait()
        try:
            yield
        finally:
            self._may_run.set()

    @asynccontextmanager
    async def expected_to_say(self, words: str) -> AsyncIterator[anyio.Event]:
        """Let it end with these words meanwhile, however often; the event tells that it has."""
        self._said_so = anyio.Event()
        self._expected.append(words)
        try:
            yield self._said_so
        finally:
            self._expected.remove(words)

    def has_said(self, words: str, *, since: int) -> bool:
        """Tell whether its log has words behind so many bytes."""
        return words.encode() in self.log.read_bytes()[since:]

    def move(self, settings: Mapping[str, str]) -> None:
        """Have it started with other settings from now on."""
        self._environment |= settings

    async def once(self) -> int:
        """Run it to its end; return the exit code."""
        with self.log.open("a") as log:
            log.write(f"{STARTS}\n")
            start = log.tell()
        self._asked = self._asked_at = None
        self._process = process = await SupervisedProcess.start(
            self._command, log=self.log, env=self._environment
        )
        try:
            code = await process.wait()
        finally:
            await process.end(signal.SIGKILL, 0)
        self._judge(code, tail(self.log, since=start))
        return code

    async def end(self, stop_signal: signal.Signals) -> None:
        """Send a signal that ends it."""
        async with self._steps:
            # Who is killed already has no time to stop well.
            if self._asked is not signal.SIGKILL:
                self._asked, self._asked_at = stop_signal, anyio.current_time()
            self._signal(stop_signal)

    async def freeze(self, seconds: float) -> None:
        """Let it stand still: for long enough, and it wakes up as a zombie."""
        async with self._steps:
            self._signal(signal.SIGSTOP)
            await anyio.sleep(seconds)
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            # It may have ended, and have been reaped, before the event loop has heard of it.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _judge(self, code: int, last_words: str) -> None:
        match self._asked:
            case signal.SIGKILL if code == -signal.SIGKILL:
                return
            case signal.SIGTERM if code in {0, NOT_YET_LISTENING}:
                took = anyio.current_time() - (self._asked_at or 0)
                if took > STOP_SECONDS:
                    self._complain(f"{self.name} took {took:.1f} s to stop:\n{last_words}")
            case _ if any(words in last_words for words in self._expected):
                self._said_so.set()
            case _ if FENCED in last_words:
                self._say(f"{self.name} was fenced off")
            case _:
                self._complain(f"{self.name} {describe_exit(code)}:\n{last_words}")


class Errand(Actor):
    """A command that does something once, and is given again as long as it fails."""

    async def done(self) -> None:
        """Run it until it has succeeded."""
        while await self.once():  # noqa: ASYNC110
            await anyio.sleep(1)
        self._say(f"{self.name}: done")

    def _judge(self, code: int, last_words: str) -> None:
        if code:
            self._say(f"{self.name} {describe_exit(code)}: {last_words[-200:]}")
