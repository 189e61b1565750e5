"""The servers of a run, and the wikis and topics on them that several benchmarks share."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import anyio
import psutil
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CoordinatorNotAvailableError
from anyio import to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal
from eventsourcing.persistence import StoredEvent
from tenacity import AsyncRetrying, retry_if_exception_type, wait_fixed

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.servers.processes import process_tree
from eventsourcing_kafka.compose.stack.sample import APPLICATION
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.importer.git_import import GitImporter
from eventsourcing_kafka.producer.importer.history import History
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import Relay
from eventsourcing_kafka.producer.wire import WireFormat
from tests.benchmarks.figures import Marks
from tests.benchmarks.history import count, fill, synthetic

ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 0.005
MOST_REPEATED = 10_000
"""A longer history repeats itself, with other pages."""
SMALL = (200, 1000)
"""Characters of a small body."""

MOST_SAID = 1 << 20
"""Bytes of a log that are looked through."""

Environment = dict[str, str]


class Spent(NamedTuple):
    """Seconds of processor time."""

    broker: float
    database: float


class World:
    """Where things are measured. `scale` is 1 for a full run."""

    def __init__(
        self,
        portal: BlockingPortal,
        kafka: Kafka,
        postgres: Postgres,
        *,
        scale: float = 1.0,
        repository: Path | None = None,
        long: bool = False,
    ) -> None:
        self.scale = scale
        self.long = long
        """Whether what takes ten minutes by itself is measured, too."""
        self.repository = repository
        self._portal = portal
        self._kafka = kafka
        self._postgres = postgres
        self._wikis: dict[int, Environment] = {}
        self._published: dict[tuple[str, int], Environment] = {}

    @classmethod
    @contextmanager
    def started(
        cls, *, scale: float = 1.0, repository: Path | None = None, long: bool = False
    ) -> Iterator[World]:
        """Start the servers, as durable as they are by default."""
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as folder,
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(Postgres(Path(folder, "postgres"))) as postgres,
            portal.wrap_async_context_manager(Kafka(Path(folder, "kafka"))) as kafka,
        ):
            portal.call(_coordinated, kafka.bootstrap_servers)
            yield cls(portal, kafka, postgres, scale=scale, repository=repository, long=long)

    def some(self, full: int) -> int:
        """Return how many of what a full run has so many of."""
        return max(10, int(full * self.scale))

    @property
    def repeats(self) -> range:
        """How often to measure."""
        return range(3 if self.scale == 1 else 2 if self.scale > 0.1 else 1)

    def environment(self, *databases: str) -> Environment:
        """Return the settings of a pipeline of its own, with these databases, all empty."""
        token = f"b{uuid.uuid4().hex[:8]}"
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self._kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": f"{token}.",
            "KAFKA_GROUP_PREFIX": f"{token}.",
            "APPLICATION_TOPIC": APPLICATION,
            **postgres_environment(
                self._postgres, {name: self._database(token, name) for name in databases}
            ),
        }

    def dsn(self, environment: Environment, name: str = "CONTENTMANAGEMENT") -> str:
        """Return the connection string of one of the databases."""
        return self._postgres.dsn(environment[f"{name}_POSTGRES_DBNAME"])

    def empty_wiki(self) -> Environment:
        """Return the settings of a wiki that has its tables, and nothing in them."""
        environment = self.environment("CONTENTMANAGEMENT")
        ContentManagement(environment).close()
        return environment

    def wiki(self, events: int) -> Environment:
        """Return the settings of a wiki with so many events, or with those of the repository."""
        wanted = 0 if self.repository else events
        if wanted not in self._wikis:
            self._wikis[wanted] = self._filled(wanted)
        return self._wikis[wanted]

    def small_wiki(self, events: int) -> Environment:
        """Return the settings of a wiki of its own, with so many events of small pages."""
        environment = self.empty_wiki()
        fill(self.dsn(environment), self.small_base, events)
        return environment

    def published(self, events: int, partitions: int = 8) -> Environment:
        """Return the settings of such a wiki whose events are in Kafka."""
        wiki = self.wiki(events)
        key = (wiki["POSTGRES_DBNAME"], partitions)
        if key not in self._published:
            environment = {**wiki, **self.apart(), "KAFKA_TOPIC_PARTITIONS": str(partitions)}
            anyio.run(relayed, environment)
            self._published[key] = environment
        return self._published[key]

    def apart(self) -> Environment:
        """Return settings of topics, and groups, that nobody else has."""
        token = f"b{uuid.uuid4().hex[:8]}"
        return {"KAFKA_TOPIC_PREFIX": f"{token}.", "KAFKA_GROUP_PREFIX": f"{token}."}

    def view(self, environment: Environment, name: str) -> Environment:
        """Return the same settings, with an empty database for a view, and a group of its own."""
        token = f"b{uuid.uuid4().hex[:8]}"
        database = {f"{name}_POSTGRES_DBNAME": self._database(token, name)}
        return {**environment, **database, "KAFKA_GROUP_PREFIX": f"{token}."}

    def spent(self) -> Spent:
        """Return the processor time that the servers have taken so far."""
        return Spent(*(_processor_seconds(server.pid) for server in (self._kafka, self._postgres)))

    def kept(self, topic: str) -> int:
        """Return the bytes that Kafka keeps of a topic."""
        logs = self._kafka.data.rglob(f"{topic}-*/*.log")
        return sum(log.stat().st_size for log in logs)

    def size(self, environment: Environment) -> int:
        """Return how many events a wiki has."""
        return count(self.dsn(environment))

    @cached_property
    def base(self) -> list[StoredEvent]:
        """The history that is repeated."""
        return synthetic(self.some(MOST_REPEATED))

    @cached_property
    def small_base(self) -> list[StoredEvent]:
        """A history of small pages, for backlogs that are to fit on the machine."""
        return synthetic(self.some(MOST_REPEATED), *SMALL)

    def _filled(self, events: int) -> Environment:
        environment = self.empty_wiki()
        if self.repository:
            with ContentManagement(environment) as wiki:
                GitImporter(wiki, History(self.repository)).run()
        else:
            fill(self.dsn(environment), self.base, events)
        return environment

    def _database(self, token: str, name: str) -> str:
        dbname = f"{token}_{name.lower()}"
        self._portal.call(self._postgres.create_database, dbname)
        return dbname


def _processor_seconds(pid: int | None) -> float:
    """Return what a process and those that it has started have taken, the ended ones, too."""
    assert pid
    (first, *others) = process_tree(pid)
    seconds = own_seconds(first)
    for other in others:
        with suppress(psutil.NoSuchProcess):  # It is an ended one by now.
            seconds += own_seconds(other)
    ended = first.cpu_times()
    return seconds + ended.children_user + ended.children_system


def own_seconds(process: psutil.Process) -> float:
    """Return the processor time that a process has taken itself."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def _coordinated(bootstrap_servers: str) -> None:
    """Wait until groups have a coordinator: its topic is made when somebody first asks for one."""
    async with started(AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)) as admin:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(CoordinatorNotAvailableError),
            wait=wait_fixed(0.05),
            sleep=anyio.sleep,
            reraise=True,
        ):
            with attempt:
                await admin.find_coordinator("group")


async def relayed(environment: Environment) -> Marks:
    """Publish all that a wiki has, and return when what was published."""
    wiki = await to_thread.run_sync(ContentManagement, environment)
    outbox = outbox_of(wiki)
    wire = WireFormat.of(wiki)
    relay = Relay(outbox, wire, KafkaSettings.from_env(environment))
    head = await outbox.head()
    marks = Marks()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(relay.run)
            while relay.position < head:
                await anyio.sleep(LOOK_SECONDS)
                marks.note(relay.position)
            tasks.cancel_scope.cancel()
    finally:
        wiki.close()
    return marks


class Program:
    """One of the project's commands, in a process of its own."""

    def __init__(self, process: psutil.Popen, log: int) -> None:
        self._process = process
        self._log = log
        self.peak = 0.0
        """Of its memory, in MB, as far as it was looked at."""

    @classmethod
    @contextmanager
    def started(cls, environment: Environment, *arguments: str) -> Iterator[Program]:
        """Run it while the context lasts."""
        with tempfile.TemporaryFile() as log:
            process = psutil.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env={"PATH": "", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                yield cls(process, log.fileno())
                if process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"{' '.join(arguments)} has ended:\n{log.read().decode()}")
            finally:
                process.terminate()
                process.wait(30)

    @property
    def spent(self) -> float:
        """The processor time that it has taken, in seconds."""
        return own_seconds(self._process)

    def look(self) -> None:
        """See how much memory it takes now."""
        self.peak = max(self.peak, self._process.memory_info().rss / 1e6)

    def has_said(self, text: str) -> bool:
        """Tell whether there is such a text in its log."""
        # It writes where this file is read: the place is theirs.
        return text.encode() in os.pread(self._log, MOST_SAID, 0)

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait, and watch its memory meanwhile."""
        while not done():
            self.look()
            await anyio.sleep(0.02)


def seconds_since(begin: float) -> float:
    """Return how long ago that was."""
    return time.perf_counter() - begin
