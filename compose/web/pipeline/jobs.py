"""What takes long: it runs in the server, whether the browser stays or not."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio
from anyio.abc import TaskGroup

from eventsourcing_kafka.compose.audit import Report
from eventsourcing_kafka.compose.web.auth.session import User
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.retry import first_error, is_transient

logger = logging.getLogger(__name__)


class AlreadyRunningError(OperatorError):
    """The same is being done already."""

    def __init__(self, running: Job) -> None:
        super().__init__(
            f"The {running.kind} of {running.of} that {running.by} has begun at "
            f"{running.began:%H:%M:%S} UTC still runs: wait for its end."
        )


@dataclass
class Job:
    """One of them, from its begin to its end and beyond."""

    kind: str
    of: str
    by: str
    """What whoever has begun it is called."""
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    step: str = ""
    done: int = 0
    total: int = 0
    failed: bool = False
    outcome: str = ""
    report: Report | None = None
    """Of an audit that has come to its end."""

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return ((self.ended or datetime.now(UTC)) - self.began).total_seconds()

    def advance(self, step: str, done: int, total: int) -> None:
        """Take note of how far it is."""
        self.step, self.done, self.total = step, done, total


class Jobs:
    """The last job of each kind, of each view; one of a kind runs at a time."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str], Job] = {}
        self._tasks: TaskGroup

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what is begun in the body; at its end all that still runs is cancelled."""
        async with anyio.create_task_group() as self._tasks:
            yield
            self._tasks.cancel_scope.cancel()

    def latest(self, kind: str, of: str) -> Job | None:
        """Return the last one; None if there was none since the server has started."""
        return self._latest.get((kind, of))

    def start(self, kind: str, of: str, by: User, work: Callable[[Job], Awaitable[str]]) -> None:
        """Begin one. Raises `AlreadyRunningError`."""
        latest = self.latest(kind, of)
        if latest and not latest.ended:
            raise AlreadyRunningError(latest)
        job = self._latest[kind, of] = Job(kind, of, by.name)
        self._tasks.start_soon(_run, job, by, work, name=f"{kind} of {of}")


async def _run(job: Job, by: User, work: Callable[[Job], Awaitable[str]]) -> None:
    told = job.outcome = "The server was stopped meanwhile."
    job.failed = True
    try:
        told = job.outcome = await work(job)
        job.failed = False
    except Exception as group:  # noqa: BLE001 - whatever it is, the others go on
        error = first_error(group)
        job.outcome = _outcome_of(error)
        told = f"failed: {type(error).__name__}"  # No log quotes an event.
    finally:
        job.ended = datetime.now(UTC)
        log(by, f"{job.kind} of {job.of}", told)


def _outcome_of(error: BaseException) -> str:
    """Return what people are told of an error: of one that is not ours, only that it is there."""
    if isinstance(error, OperatorError):
        return str(error)
    if is_transient(error):
        logger.warning("a server was lost: %s", type(error).__name__)
        return "A server was lost on the way. Begin again when it is back."
    logger.error("This is a defect of the program:", exc_info=error)
    return "Something is wrong here."


def log(user: User, what: str, outcome: str) -> None:
    """Log who has done what, and what came of it, in one line."""
    logger.info("%r (%s): %s: %s", user.name, user.id, what, " ".join(outcome.split())[:500])
