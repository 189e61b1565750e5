"""Our own processes, kept running on top of Kafka and Postgres."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from eventsourcing_kafka.compose.servers.processes import SupervisedProcess, describe_exit, tail

_STOP_WITHIN = 10.0  # seconds until SIGKILL
_LONGEST_PAUSE = 30.0
_STEADY = 60.0  # seconds after which an end is no longer a failing start


class Service:
    """A command of ours, run in a child process, and again, with back-off, whenever it ends."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        self.state = "waiting"
        self.log_tail = ""  # the end of its log, when it has ended
        self._command = command
        self._environment = environment

    async def keep(self) -> None:
        """Keep it running until cancelled, then stop it: SIGTERM first, SIGKILL at the deadline."""
        pause = 1.0
        while True:
            started = anyio.current_time()
            code = await self._run()
            pause = 1.0 if anyio.current_time() - started > _STEADY else pause
            self.state = f"{describe_exit(code)}, starts again in {pause:.0f} s"
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _run(self) -> int:
        start = self.log.stat().st_size if self.log.exists() else 0
        process = await SupervisedProcess.start(
            self._command, log=self.log, env=self._environment, stop_signal=signal.SIGTERM
        )
        self.state = f"running, process {process.pid}"
        try:
            code = await process.wait()
        finally:
            await process.end(signal.SIGTERM, _STOP_WITHIN)
        self.log_tail = tail(self.log, since=start)
        return code
