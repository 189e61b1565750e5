"""Processes that tests stop, and a consumer of the activity that stops itself (SIGSTOP) once.

`before` it does so with a batch in hand that has no transaction yet, `inside` a transaction that
Postgres ends soon, `within` one that it leaves open for minutes.
"""

import logging
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from eventsourcing_kafka.compose.servers.processes import SupervisedProcess
from eventsourcing_kafka.consumer.engine.applying import Applier
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.parking import Parking
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.activity import VIEW
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.process import run
from tests.pipeline import ROOT, until

STUCK_SECONDS = 1.0
BATCHES_BEFORE = 3


class Child:
    """The process, and what it says."""

    def __init__(self, process: SupervisedProcess, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def said(self) -> str:
        """All that it has said."""
        return " ".join(self._log.read_text().split())

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self._process.pid, signum)

    async def stands_still(self) -> None:
        """Wait until it has stopped itself."""
        process = psutil.Process(self._process.pid)
        await until(lambda: is_so(process.status() == psutil.STATUS_STOPPED))

    async def says(self, pattern: str) -> None:
        """Wait until it has said something."""
        await until(lambda: is_so(bool(re.search(pattern, self.said))))

    async def ends(self) -> int:
        """Wait until it has ended, and return its exit code."""
        return await self._process.wait()


async def is_so(truth: bool) -> bool:
    """Return it, to wait for what is known at once."""
    return truth


@asynccontextmanager
async def child(
    environment: Mapping[str, str], log: Path, *arguments: str, module: str = __name__
) -> AsyncIterator[Child]:
    """Run this module, or a command of ours, in a process that does not outlive the test."""
    environment = {**os.environ, "COLUMNS": "300", "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", module, *arguments]
    process = await SupervisedProcess.start(command, log=log, env=environment)
    try:
        yield Child(process, log)
    finally:
        await process.end(signal.SIGKILL, 0)


def stop_once(owner: type, name: str) -> None:
    """Have the process stand still when a method is called for the third time."""
    method = getattr(owner, name)
    calls = count(1)

    async def stopping(*args: Any) -> Any:
        if next(calls) == BATCHES_BEFORE:
            os.kill(os.getpid(), signal.SIGSTOP)
        return await method(*args)

    setattr(owner, name, stopping)


def main(where: str) -> None:
    """Consume, one event a batch."""
    logging.basicConfig(level=logging.INFO)
    options: dict[str, Any] = {}
    match where:
        case "before":
            stop_once(Applier, "apply")
            options["connections"] = 1  # A second one could be inside a transaction just then.
        case "inside":
            stop_once(Parking, "set_aside")
            options["stuck"] = STUCK_SECONDS
        case "within":
            stop_once(Parking, "set_aside")
            options["connections"] = 1  # So there is one to end.
    store = ViewStore.of(VIEW, os.environ)
    run(Consumer(store, KafkaSettings.from_env(os.environ), limit=1, **options).run)


if __name__ == "__main__":
    main(sys.argv[1])
