"""Parts of a process that are watched, and who asks them over HTTP."""

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from typing import Any

import anyio
from anyio import to_thread
from prometheus_client.parser import text_string_to_metric_families

from eventsourcing_kafka.compose.servers.processes import HOST, free_port
from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.operations.health import ViewHealth
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import Relay, RelayHealth
from eventsourcing_kafka.producer.runtime.health import HealthCheck
from eventsourcing_kafka.producer.runtime.metrics import PREFIX
from eventsourcing_kafka.producer.runtime.metrics_server import listen, serving_metrics
from eventsourcing_kafka.producer.wire import WireFormat
from tests.pipeline import Pipeline, until


class Told:
    """What Prometheus is told at one time."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)
        self.samples = [sample for family in families for sample in family.samples]

    def figure(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples of a name that have these labels; None without any."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None


class Watcher:
    """Asks as Prometheus and probes do."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def get(self, path: str) -> tuple[int, str]:
        """Return the status, and the body."""
        return await to_thread.run_sync(self._get, path)

    def _get(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection(HOST, self.port, timeout=20)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    async def answers(self) -> None:
        """Wait until somebody answers."""

        async def is_so() -> bool:
            try:
                await self.get("/healthz")
            except OSError:
                return False
            return True

        await until(is_so)

    async def told(self) -> Told:
        """Return all figures there are."""
        status, text = await self.get("/metrics")
        assert status == 200
        return Told(text)

    async def figure(self, name: str, **labels: str) -> float | None:
        """Return one figure; None if there is none."""
        return (await self.told()).figure(name, **labels)

    async def reads(self, name: str, expected: float | None, **labels: str) -> None:
        """Wait until a figure is what is expected."""

        async def is_so() -> bool:
            return await self.figure(name, **labels) == expected

        await until(is_so)

    async def verdict(self, path: str = "/healthz") -> tuple[int, list[str]]:
        """Return the status, and why it is that."""
        status, body = await self.get(path)
        return status, [why for part in json.loads(body)["parts"] for why in part["why"]]

    async def finds(self, status: int, path: str = "/healthz") -> list[str]:
        """Wait until the status is this, and return why it is that."""
        why: list[str] = []

        async def is_so() -> bool:
            nonlocal why
            found, why = await self.verdict(path)
            return found == status

        await until(is_so)
        return why


@asynccontextmanager
async def asked(*parts: HealthCheck[Any]) -> AsyncIterator[Watcher]:
    """Have parts answer."""
    port = free_port()
    async with serving_metrics(parts, listen(port, HOST)):
        yield Watcher(port)


def watched_relay(pipeline: Pipeline, **timing: float) -> tuple[Relay, RelayHealth]:
    """Return a relay of a pipeline, and it watched."""
    outbox = outbox_of(pipeline.wiki)
    wire = WireFormat.of(pipeline.wiki)
    relay = Relay(outbox, wire, pipeline.settings, **timing)
    return relay, RelayHealth(relay, outbox, wire, pipeline.settings)


def watched_view(pipeline: Pipeline, **options: Any) -> tuple[Consumer, ViewHealth]:
    """Return a consumer of a pipeline, and it watched."""
    consumer = pipeline.consumer(**options)
    return consumer, ViewHealth(consumer, pipeline.settings)


@asynccontextmanager
async def running(*loops: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run loops meanwhile."""
    async with anyio.create_task_group() as tasks:
        for loop in loops:
            tasks.start_soon(loop)
        yield
        tasks.cancel_scope.cancel()
