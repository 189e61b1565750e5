"""A real Cassandra 5: one node out of Cassandra's own jars, on the loopback."""

import json
import signal
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import anyio.to_thread

from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.servers.jars import CASSANDRA
from eventsourcing_kafka.compose.servers.java17 import java
from eventsourcing_kafka.compose.servers.processes import HOST, free_port
from eventsourcing_kafka.compose.servers.server import Launch, Server

_LOGGING = Path(__file__).with_name("logback.xml")

_EXPORTED = (
    *("java.base/jdk.internal.misc", "java.base/jdk.internal.ref", "java.base/sun.nio.ch"),
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    *("java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server", "java.sql/java.sql"),
)
_OPENED = (
    *(
        f"java.base/{package}"
        for package in (
            *("java.lang", "java.lang.module", "java.lang.reflect", "java.net", "java.io"),
            *("java.nio", "java.util", "java.util.concurrent", "java.util.concurrent.atomic"),
            *("jdk.internal.loader", "jdk.internal.ref", "jdk.internal.reflect"),
            *("jdk.internal.math", "jdk.internal.misc", "jdk.internal.module"),
            *("jdk.internal.util.jar", "sun.nio.ch"),
        )
    ),
    "java.management/com.sun.jmx.mbeanserver",
    "jdk.management/com.sun.management.internal",
)
"""What Cassandra does with Java's insides, as its own options for Java 17 have it."""

_JAVA = (
    *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTED),
    *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED),
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djdk.attach.allowAttachSelf=true",
    "-Djava.net.preferIPv4Stack=true",
    f"-Dlogback.configurationFile={_LOGGING.as_uri()}",
    # It is alone, and waits for nobody.
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=0",
    "-Dcassandra.superuser_setup_delay_ms=-1",
    "-Dcassandra-foreground=yes",
)


class Cassandra(Server):
    """A node that is its own cluster, with its data below one folder; whoever is here may use it.

    `settings` go over the server's own. It needs Java 17, and a gigabyte of memory.

    Raises StackError on entry when the folder is in use or not writable, when the port is taken,
    when Java or the jars can't be had, and when the server does not come up.
    """

    name = "Cassandra"
    stop_signal = signal.SIGTERM
    orphan_signal = signal.SIGKILL

    _default_settings: ClassVar[Mapping[str, Any]] = {
        "cluster_name": "eventsourcing-kafka",
        "num_tokens": 1,
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "endpoint_snitch": "SimpleSnitch",
        "commitlog_sync": "batch",  # There is no other node: what is acknowledged is on the disk.
        "auto_snapshot": False,
        "memtable_heap_space": "64MiB",
        "file_cache_size": "32MiB",
    }

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, Any] | None = None,
        heap: str = "512m",
    ) -> None:
        super().__init__(data, port=port)
        self.settings = {**self._default_settings, **(settings or {})}
        self.heap = heap
        self._storage_port = free_port()

    async def prepare(self) -> Launch:
        """Write the settings, and fetch what is needed to start if it is not there."""
        program, jars = await anyio.to_thread.run_sync(ready)
        self._settings_file.write_text(json.dumps(self.server_settings(), indent=2))  # YAML, too
        options = (
            f"-Xms{self.heap}",
            f"-Xmx{self.heap}",
            f"-XX:ErrorFile={self.data / 'crash-%p.log'}",
            f"-Dcassandra.config={self._settings_file.as_uri()}",
            f"-Dcassandra.storagedir={self._storage}",
        )
        main = ("-cp", jars, "org.apache.cassandra.service.CassandraDaemon")
        return Launch([str(program), *_JAVA, *options, *main])

    async def is_ready(self) -> bool:
        """Whether it has said that it serves."""
        return self.has_logged("Startup complete")

    def server_settings(self) -> Mapping[str, Any]:
        """Return the content of its `cassandra.yaml`."""
        seeds = [{"seeds": f"{HOST}:{self._storage_port}"}]
        provider = "org.apache.cassandra.locator.SimpleSeedProvider"
        folders = {
            "commitlog_directory": "commitlog",
            "saved_caches_directory": "saved_caches",
            "hints_directory": "hints",
            "cdc_raw_directory": "cdc_raw",
        }
        return {
            **{name: str(self._storage / folder) for name, folder in folders.items()},
            "data_file_directories": [str(self._storage / "data")],
            "seed_provider": [{"class_name": provider, "parameters": seeds}],
            "listen_address": HOST,
            "storage_port": self._storage_port,
            "rpc_address": HOST,
            "native_transport_port": self.port,
            **self.settings,
        }

    async def create_keyspace(self, name: str) -> None:
        """Make an empty keyspace if there is none of that name, on this one node."""
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        await self._run(f'CREATE KEYSPACE IF NOT EXISTS "{name}" WITH replication = {replication}')

    async def drop_keyspace(self, name: str) -> None:
        """Drop a keyspace if it is there."""
        await self._run(f'DROP KEYSPACE IF EXISTS "{name}"')

    async def _run(self, statement: str) -> None:
        await anyio.to_thread.run_sync(_execute, self.port, statement)

    @property
    def _storage(self) -> Path:
        return self.data / "storage"

    @property
    def _settings_file(self) -> Path:
        return self.data / "cassandra.yaml"


def ready() -> tuple[Path, str]:
    """Return Java 17, and the class path, once they are here. Raises StackError."""
    if find_spec("cassandra") is None:
        raise StackError(
            "Cassandra's driver is not installed: pip install 'eventsourcing-kafka[cassandra]'"
        )
    return java(), CASSANDRA.classpath()


def _execute(port: int, statement: str) -> None:
    from cassandra import ProtocolVersion
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import RoundRobinPolicy

    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy())
    with Cluster(
        [HOST],
        port=port,
        protocol_version=ProtocolVersion.V5,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    ) as cluster:
        cluster.connect().execute(statement)


def cassandra_environment(cassandra: Cassandra, keyspace: str) -> dict[str, str]:
    """Return the variables of an application that stores in a keyspace."""
    return {
        "PERSISTENCE_MODULE": "eventsourcing_kafka.producer.cassandra",
        "CASSANDRA_HOSTS": HOST,
        "CASSANDRA_PORT": str(cassandra.port),
        "CASSANDRA_KEYSPACE": keyspace,
    }
