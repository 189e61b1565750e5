"""The stage: a broker and a database behind proxies, and the processes between them."""

import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Self, TypeVar

import anyio
from anyio.abc import TaskGroup

from eventsourcing_kafka.compose.servers.kafka import Kafka, new_cluster_id
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.servers.processes import HOST, free_port
from eventsourcing_kafka.compose.servers.server import Server
from eventsourcing_kafka.compose.stack.sample import APPLICATION, DATABASES
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from tests.chaos.actor import Actor, Errand
from tests.chaos.observed import HISTORY, NAME, OBSERVED
from tests.chaos.proxy import KafkaProxy, Proxy
from tests.history.entries import Change, Changed, Journal
from tests.pipeline import RELAY

A = TypeVar("A", bound=Actor)

SESSION_TIMEOUT_SECONDS = 3.0
RELAYS = 2
CONSUMERS = 3
WRITERS = 3

CONSUMER = (OBSERVED, "consumer", "run", "fts", "activity", "--grace", "3")


NO_MORE: Mapping[str, str] = {}
# Kafka deletes whole files, and those that are full: so they are small, and it looks often.
SOON_DELETED = {"log.roll.ms": "1000", "log.retention.check.interval.ms": "1000"}

EVENTS = "contentmanagement.events"
POSITION = "contentmanagement.position"


class Stage(anyio.AsyncContextManagerMixin):
    """All that a run needs, below one folder. `findings` is what should not have been."""

    def __init__(
        self,
        folder: Path,
        say: Callable[[str], None],
        *,
        brokers: int = 1,
        retention: float | None = None,
    ) -> None:
        self.findings: list[str] = []
        self.faults: Counter[str] = Counter()
        self.actors: list[Actor] = []
        self.relays: list[Actor] = []
        self.consumers: list[Actor] = []
        self.writers: list[Actor] = []
        self.kafka_proxies = [KafkaProxy() for _ in range(brokers)]
        self.postgres_proxy = Proxy()
        deletes = SOON_DELETED if retention else {}
        self.brokers = brokers_behind(folder, self.kafka_proxies, deletes)
        self._retention = retention
        self.postgres = Postgres(folder / "postgres")
        self.restarting = anyio.Lock()
        """One server is restarted at a time; the other may be cut off meanwhile."""
        self.restoring = anyio.Lock()
        """What Kafka has stays there meanwhile: by that a write model is known to be restored."""
        self.rebuilding: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._folder = folder
        self.prefix = ""
        self.left: list[str] = []
        """Prefixes of topics that were left for others."""
        self.history = folder / "history"
        self.journal = Journal.of_this_process(self.history, "stage")
        self._tell = say
        self._began = time.monotonic()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncIterator[Self]:
        async with self.postgres, AsyncExitStack() as up:
            # None of them answers before most of them are there.
            async with anyio.create_task_group() as starting:
                for broker in self.brokers:
                    starting.start_soon(up.enter_async_context, broker)
            for name in DATABASES.values():
                await self.postgres.create_database(name)
            async with anyio.create_task_group() as tasks:
                for proxy, broker in zip(self.kafka_proxies, self.brokers, strict=True):
                    await tasks.start(proxy.serve, broker.port)
                await tasks.start(self.postgres_proxy.serve, self.postgres.port)
                self._tasks: TaskGroup = tasks
                yield self
                tasks.cancel_scope.cancel()

    @property
    def environment(self) -> dict[str, str]:
        """The settings of all processes: every connection goes through a proxy."""
        return {
            **postgres_environment(self.postgres, DATABASES),
            "APPLICATION_TOPIC": APPLICATION,
            "POSTGRES_PORT": str(self.postgres_proxy.port),
            "KAFKA_BOOTSTRAP_SERVERS": ",".join(
                f"{HOST}:{proxy.port}" for proxy in self.kafka_proxies
            ),
            "KAFKA_TOPIC_PREFIX": self.prefix,
            "KAFKA_TOPIC_PARTITIONS": "6",
            "KAFKA_SESSION_TIMEOUT_MS": f"{SESSION_TIMEOUT_SECONDS * 1000:.0f}",
            **self._limited,
        }

    @property
    def _limited(self) -> dict[str, str]:
        if self._retention is None:
            return {}
        return {"KAFKA_TOPIC_RETENTION_MS": f"{self._retention * 1000:.0f}"}

    @property
    def topics(self) -> list[tuple[str, bool]]:
        """The topics of events, and whether all are to be in it.

        They are not in one that was left, nor in any that Kafka deletes of.
        """
        whole = self._retention is None
        prefixes = [(prefix, False) for prefix in self.left] + [(self.prefix, whole)]
        return [(f"{prefix}{EVENTS}", complete) for prefix, complete in prefixes]

    @property
    def servers(self) -> list[Server]:
        """All servers."""
        return [self.postgres, *self.brokers]

    def raise_curtain(self, chance: Random) -> None:
        """Start relays, consumers and writers."""
        self.relays = [
            self.start(f"relay-{n}", OBSERVED, *RELAY, "--grace", "3") for n in range(RELAYS)
        ]
        self.consumers = [self.start("consumer-0", *CONSUMER)] + [
            # Static members: a restart leaves their partitions where they are.
            self.start(f"consumer-{n}", *CONSUMER, "--instance", f"consumer-{n}")
            for n in range(1, CONSUMERS)
        ]
        self.writers = [
            self.start(
                f"writer-{n}",
                "tests.chaos.writer",
                str(chance.random()),
                # Their positions are taken in another order than they are committed in.
                POSTGRES_ENABLE_DB_FUNCTIONS="yes" if n else "no",
            )
            for n in range(WRITERS)
        ]

    def move_to(self, prefix: str) -> None:
        """Have all processes use topics of another prefix from their next start on."""
        self.left.append(self.prefix)
        self.prefix = prefix
        for actor in self.actors:
            actor.move({"KAFKA_TOPIC_PREFIX": prefix})

    def start(self, name: str, *command: str, **settings: str) -> Actor:
        """Keep a command running until the end."""
        actor = self.actor(name, *command, **settings)
        self._tasks.start_soon(actor.keep, name=name)
        return actor

    def actor(self, name: str, *command: str, **settings: str) -> Actor:
        """Return a command that is to be kept running."""
        return self._cast(Actor, name, command, settings)

    def errand(self, *command: str) -> Errand:
        """Return a command that is to be run until it succeeds."""
        return self._cast(Errand, "-".join(command).replace("--", ""), (OBSERVED, *command), {})

    def say(self, text: str) -> None:
        """Write into the chronicle of the run."""
        self._tell(f"{time.monotonic() - self._began:7.1f} s  {text}")

    def change(self, what: Change, topic: str | None = None) -> None:
        """Take note, before it happens, of what explains what else would be an anomaly."""
        self.journal.write(Changed(what=what, topic=topic))

    def complain(self, finding: str) -> None:
        """Take note of what should not have been."""
        self.say(f"FINDING: {finding}")
        self.findings.append(finding)

    def _cast(
        self, kind: type[A], name: str, command: Sequence[str], settings: Mapping[str, str]
    ) -> A:
        log = self._folder / f"{name}.log"
        environment = {**self.environment, HISTORY: str(self.history), NAME: name, **settings}
        actor = kind(name, command, log, environment, self.say, self.complain)
        self.actors.append(actor)
        return actor


def brokers_behind(
    folder: Path, proxies: Sequence[Proxy], properties: Mapping[str, str] = NO_MORE
) -> list[Kafka]:
    """Return brokers whose clients are sent to their proxies, and which themselves are not."""
    voters = {node: free_port() for node in range(1, len(proxies) + 1)}
    identity = new_cluster_id()
    return [
        _broker(folder / f"kafka-{node}", node, voters, proxy.port, identity, properties)
        for node, proxy in zip(voters, proxies, strict=True)
    ]


def _broker(
    folder: Path,
    node: int,
    voters: Mapping[int, int],
    proxy: int,
    identity: str,
    properties: Mapping[str, str],
) -> Kafka:
    port, internal = free_port(), free_port()
    alone = len(voters) == 1
    return Kafka(
        folder,
        port=port,
        node_id=node,
        voters=voters,
        cluster_id=identity,
        heap="512m" if alone else "256m",
        properties={
            "listeners": f"CLIENT://{HOST}:{port},INTERNAL://{HOST}:{internal},"
            f"CONTROLLER://{HOST}:{voters[node]}",
            "advertised.listeners": f"CLIENT://{HOST}:{proxy},INTERNAL://{HOST}:{internal}",
            "inter.broker.listener.name": "INTERNAL",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,"
            "CONTROLLER:PLAINTEXT",
            "group.min.session.timeout.ms": "100",
            **properties,
            # Else the only broker gives its leaderships up before it stops, and Kafka 4.3 then
            # completes transactions without writing their markers (KAFKA-20734).
            "controlled.shutdown.enable": "false" if alone else "true",
        },
    )
