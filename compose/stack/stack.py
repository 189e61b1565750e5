"""The whole stack: Kafka, Postgres and the processes between them, started and stopped in order."""

import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import anyio
import platformdirs

from eventsourcing_kafka.compose.servers.cassandra import Cassandra, cassandra_environment
from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.servers.processes import (
    HOST,
    free_port,
    is_free,
    lock_folder,
    process_in,
    remove_ownerless,
    require_free,
    write_process_file,
)
from eventsourcing_kafka.compose.servers.server import Server
from eventsourcing_kafka.compose.servers.service import Service
from eventsourcing_kafka.compose.stack.parts import (
    CASSANDRA,
    IN_A_BROWSER,
    checked_parts,
    databases_of,
    parts,
    services_of,
)
from eventsourcing_kafka.compose.stack.sample import SAMPLE
from eventsourcing_kafka.producer.runtime.metrics_server import metrics_environment
from eventsourcing_kafka.producer.runtime.pipeline import Pipeline

WEB_PORT = 8080
"""Where people look first. If something listens there, the web gets a free port."""

KEYSPACE = "eventsourcing"
"""Of the applications that store in Cassandra."""

_RESTART_PAUSE = 1.0


@dataclass(frozen=True)
class PartState:
    """The state of one part of the stack, for people."""

    name: str
    state: str
    where: str = ""
    trouble: str = ""  # what its log said last, when it has ended


class Stack(anyio.AsyncContextManagerMixin):
    """Kafka and Postgres, and the relay and the consumers on them, while its context lasts.

    `data` is kept between runs; without it the data is in a temporary folder, removed at
    the end. `only` names the parts to run, of `parts()`. A part that ends by itself is
    started again. The services answer those who watch them on `metrics_port` and the ports
    after it, one for each of `services`. The web is on `web_port`; without it on 8080, or a free
    one. On exit first the services, then Kafka, then the databases are stopped, each killed after
    ten seconds.

    Raises StackError on entry when a part can't be started, saying why and what to do.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        pipeline: Pipeline = SAMPLE,
        only: Collection[str] | None = None,
        kafka_port: int | None = None,
        postgres_port: int | None = None,
        kafka_properties: Mapping[str, str] | None = None,
        postgres_settings: Mapping[str, str] | None = None,
        metrics_port: int | None = None,
        web_port: int | None = None,
        cassandra_port: int | None = None,
    ) -> None:
        chosen = checked_parts(parts(pipeline) if only is None else only, pipeline)
        self.pipeline = pipeline
        self.temporary = data is None
        self.data = (data or Path(tempfile.mkdtemp(prefix="eventsourcing-kafka-"))).absolute()
        self.kafka = Kafka(self.data / "kafka", port=kafka_port, properties=kafka_properties)
        self.postgres = Postgres(
            self.data / "postgres", port=postgres_port, settings=postgres_settings
        )
        self.cassandra = Cassandra(self.data / CASSANDRA, port=cassandra_port)
        servers = {"postgres": self.postgres, CASSANDRA: self.cassandra, "kafka": self.kafka}
        self._servers: dict[str, Server] = {n: s for n, s in servers.items() if n in chosen}
        self._states: dict[str, str] = {}
        self.services = services_of(pipeline)
        self._chosen_services = [name for name in self.services if name in chosen]
        self._databases = databases_of(pipeline)
        self._services: list[Service] = []
        self._metrics_port = metrics_port
        self._web_port = web_port

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncIterator[Self]:
        remove_dead_stacks()
        with self._temporary_data(), lock_folder(self.data):
            self._choose_web_port()
            async with (
                AsyncExitStack() as postgres,
                AsyncExitStack() as cassandra,
                AsyncExitStack() as kafka,
            ):
                await self._start({"postgres": postgres, CASSANDRA: cassandra, "kafka": kafka})
                self._services = [self._service(name) for name in self._chosen_services]
                with self._registered():
                    async with anyio.create_task_group() as keepers:
                        for name in self._servers:
                            keepers.start_soon(self._keep, name)
                        for service in self._services:
                            keepers.start_soon(service.keep)
                        yield self
                        keepers.cancel_scope.cancel()

    def environment(self) -> dict[str, str]:
        """Return the variables that point the project's commands at this stack."""
        variables = {}
        if "kafka" in self._servers:
            variables["KAFKA_BOOTSTRAP_SERVERS"] = self.kafka.bootstrap_servers
        if CASSANDRA in self._servers:
            variables |= cassandra_environment(self.cassandra, KEYSPACE)
        if "postgres" in self._servers:  # Which application stores in Cassandra then is to be said.
            variables |= postgres_environment(self.postgres, self._databases)
            topics = [part.at for part in self.pipeline.applications.values() if part.at]
            if len(topics) == 1:
                variables["APPLICATION_TOPIC"] = topics[0]
        return self.pipeline.environment(variables)

    @property
    def web_address(self) -> str | None:
        """What to open in a browser; None without the web."""
        if self._in_a_browser:
            return f"http://{HOST}:{self._web_port}"
        return None

    def rows(self) -> list[PartState]:
        """Return the state of each part."""
        servers = [
            PartState(server.name, self._states[name], f"{HOST}:{server.port}")
            for name, server in self._servers.items()
            if name in self._states
        ]
        services = [
            PartState(service.name, service.state, self._where(service), service.log_tail)
            for service in self._services
        ]
        return servers + services

    async def _start(self, exits: Mapping[str, AsyncExitStack]) -> None:
        async def enter(name: str) -> None:
            self._states[name] = "starting"
            await exits[name].enter_async_context(self._servers[name])
            if name == "postgres":
                for dbname in dict.fromkeys(self._databases.values()):
                    await self.postgres.create_database(dbname)
            if name == CASSANDRA:
                await self.cassandra.create_keyspace(KEYSPACE)
            self._states[name] = self._running(name)

        await _run_together([partial(enter, name) for name in self._servers])

    async def _keep(self, name: str) -> None:
        """Start a server again that has ended without being told to."""
        server = self._servers[name]
        while True:
            await anyio.sleep(_RESTART_PAUSE)
            if server.running or not server.should_run:
                self._states[name] = self._running(name) if server.running else "stopped"
                continue
            self._states[name] = "has ended unasked, starts again"
            try:
                await server.start()
            except StackError as error:
                self._states[name] = f"does not start: {error}"

    def _running(self, name: str) -> str:
        return f"running, process {self._servers[name].pid}"

    def _where(self, service: Service) -> str:
        address = self.web_address if service.name in IN_A_BROWSER else None
        return f"{address}, {service.log}" if address else str(service.log)

    def _choose_web_port(self) -> None:
        if not self._in_a_browser:
            return
        if self._web_port is None:
            self._web_port = WEB_PORT if is_free(WEB_PORT) else free_port()
        require_free(self._web_port, "--web-port")

    def _service(self, name: str) -> Service:
        log = self.data / f"{name.replace(' ', '-')}.log"
        number = list(self.services).index(name)
        port = None if self._metrics_port is None else self._metrics_port + number
        environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            **self.environment(),
            **metrics_environment(port, HOST),
        }
        if self.pipeline.file:
            environment["PYTHONPATH"] = _also_in(self.pipeline.file.parent, os.environ)
        command = [sys.executable, "-m", "eventsourcing_kafka", *self.services[name]]
        if name in IN_A_BROWSER:
            command += ["--port", str(self._web_port)]
            environment |= self._web_secret()
        return Service(name, command, log, environment)

    @property
    def _in_a_browser(self) -> bool:
        return any(name in IN_A_BROWSER for name in self._chosen_services)

    def _web_secret(self) -> Mapping[str, str]:
        """Return the variable that has sessions outlast the web, and this stack."""
        if os.environ.get("WEB_SECRET") or os.environ.get("WEB_SECRET_FILE"):
            return {}
        file = self.data / "web.secret"
        if not file.exists():
            # Whole, or not there: who reads half of it would sign with that.
            new = file.with_suffix(".new")
            new.unlink(missing_ok=True)
            new.touch(mode=0o600)
            new.write_text(secrets.token_urlsafe(32))
            new.replace(file)
        return {"WEB_SECRET_FILE": str(file)}

    @contextmanager
    def _temporary_data(self) -> Iterator[None]:
        try:
            yield
        finally:
            if self.temporary:
                shutil.rmtree(self.data, ignore_errors=True)

    @contextmanager
    def _registered(self) -> Iterator[None]:
        """Let `running_stacks` find this one."""
        _registry().mkdir(parents=True, exist_ok=True)
        file = _registry() / f"{uuid.uuid4().hex}.json"
        write_process_file(
            file,
            os.getpid(),
            data=str(self.data),
            temporary=self.temporary,
            environment=self.environment(),
        )
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def _also_in(folder: Path, env: Mapping[str, str]) -> str:
    """Return where Python looks for modules, and a folder besides."""
    return os.pathsep.join(filter(None, [str(folder), env.get("PYTHONPATH")]))


def postgres_environment(postgres: Postgres, databases: Mapping[str, str]) -> dict[str, str]:
    """Return the library's variables for a server and the database of each application."""
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_HOST": HOST,
        "POSTGRES_PORT": str(postgres.port),
        "POSTGRES_USER": postgres.user,
        "POSTGRES_PASSWORD": postgres.password,
        "POSTGRES_DBNAME": next(iter(databases.values())),
        **{f"{prefix}_POSTGRES_DBNAME": dbname for prefix, dbname in databases.items()},
    }


async def _run_together(functions: Collection[Callable[[], Awaitable[None]]]) -> None:
    """Await all at once; the first failure, which cancels the others, is raised as it is."""
    failures: list[StackError] = []

    async def collect(function: Callable[[], Awaitable[None]]) -> None:
        try:
            await function()
        except StackError as error:
            failures.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for function in functions:
            tasks.start_soon(collect, function)
    if failures:
        raise failures[0]


@dataclass(frozen=True)
class RunningStack:
    """A stack that runs in some process of this user."""

    pid: int
    data: Path
    environment: Mapping[str, str]


def running_stacks() -> list[RunningStack]:
    """Return the stacks that this user runs."""
    return [
        RunningStack(written["pid"], Path(written["data"]), written["environment"])
        for file, written in _registered_stacks()
        if process_in(file)
    ]


def running_stack(data: Path | None = None) -> RunningStack:
    """Return the one stack that runs, or the one that runs on a data folder.

    Raises StackError when there is none, or more than one to choose from.
    """
    stacks = running_stacks()
    where = ""
    if data:
        stacks = [stack for stack in stacks if stack.data == data.absolute()]
        where = f" on {data}"
    if not stacks:
        raise StackError(f"no stack runs{where}: start one with `eventsourcing-kafka compose up`")
    if len(stacks) > 1:
        folders = ", ".join(str(stack.data) for stack in stacks)
        raise StackError(f"{len(stacks)} stacks run: choose one with --data, of {folders}")
    return stacks[0]


def remove_dead_stacks() -> None:
    """Remove what killed stacks have left: announcements and temporary data."""
    for file, written in _registered_stacks():
        if process_in(file):
            continue
        data = Path(written["data"])
        if written["temporary"] and data.exists():
            remove_ownerless(data)
        file.unlink(missing_ok=True)


def _registered_stacks() -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in _registry().glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # it has just been stopped
            yield file, json.loads(file.read_text())


def _registry() -> Path:
    return platformdirs.user_state_path("eventsourcing-kafka") / "stacks"
