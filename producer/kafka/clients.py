"""Where the records of an application are: topic names, partitions, and how to reach Kafka."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Annotated, Any, Literal, Protocol, Self, TypeVar

import anyio
import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import murmur2

from eventsourcing_kafka.producer.kafka.security import SECRETS, Security, variable_of
from eventsourcing_kafka.producer.runtime.secrets import Secret
from eventsourcing_kafka.producer.runtime.terminal import SettingsError

CLOSE_SECONDS = 5.0

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class KafkaSettings(Security, frozen=True, kw_only=True, rename=variable_of):
    """How to reach Kafka, from `KAFKA_…` environment variables.

    A secret, such as `KAFKA_SASL_PASSWORD`, may be in a file: `KAFKA_SASL_PASSWORD_FILE`.
    """

    bootstrap_servers: str = "localhost:9092"
    """Comma-separated host:port pairs."""
    topic_prefix: str = ""
    """Put before every topic name, to share a cluster."""
    group_prefix: str = ""
    """Put before every group and transactional ID, to share a cluster."""
    topic_partitions: AtLeastOne = 8
    """Partitions of a topic that the relay creates. It can't be changed later."""
    topic_replication_factor: AtLeastOne | None = None
    """Replicas of a topic that the relay creates; by default three, or as many as brokers."""
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"
    """Of the records that the relay writes from now on. Every client there is can read gzip."""

    session_timeout_ms: int = 10_000
    """After so long a consumer that is silent loses its partitions to the others."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings out of `env`. Raises `SettingsError` naming the variable at fault."""
        names = cls.__struct_encode_fields__
        given: dict[str, object] = {name: env[name] for name in names if env.get(name)}
        for name in SECRETS:
            given[name] = Secret.from_env(name, env)
        try:
            return msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"The KAFKA_… settings are wrong: {error}") from error

    def client(self) -> dict[str, Any]:
        """Return the arguments that every aiokafka client takes."""
        return {"bootstrap_servers": self.bootstrap_servers.split(","), **self.arguments()}

    def compression(self) -> str | None:
        """Return how a producer compresses, as aiokafka calls it."""
        return None if self.compression_type == "none" else self.compression_type


class Topics(msgspec.Struct, frozen=True):
    """The topics of one application."""

    events: str
    """Its notifications, a record each."""
    position: str
    """Compacted: up to where the relay has published them."""

    @classmethod
    def of(cls, application_name: str, settings: KafkaSettings) -> Self:
        """Name the topics of the application called `application_name`."""
        stem = f"{settings.topic_prefix}{application_name.lower()}"
        return cls(events=f"{stem}.events", position=f"{stem}.position")


@lru_cache(maxsize=1 << 16)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key, as Kafka's Java clients choose it (murmur2)."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


async def partitions_of(topic: str, settings: KafkaSettings) -> int:
    """Return how many partitions a topic has; 0 if there is no such topic."""
    async with started(AIOKafkaAdminClient(**settings.client())) as admin:
        if topic not in await admin.list_topics():
            return 0
        (described,) = await admin.describe_topics([topic])
        return len(described["partitions"])


_refused: ContextVar[BaseException | None] = ContextVar("_refused", default=None)


def _keep_reason(record: logging.LogRecord) -> bool:
    """Keep why a broker could not be reached: aiokafka logs that, and then raises without it."""
    if isinstance(record.args, tuple) and record.args:
        match record.args[-1]:
            case BaseException() as error:
                _refused.set(error)
    return True


logging.getLogger("aiokafka").addFilter(_keep_reason)


@asynccontextmanager
async def reading(
    settings: KafkaSettings, *, committed: bool = True
) -> AsyncIterator[AIOKafkaConsumer]:
    """Start a consumer without a group, for those who ask where partitions begin and end.

    They end before the first open transaction, unless what is not `committed` counts, too. It
    learns of a topic when it is first asked about it, and asks again after its back-off.
    """
    consumer = AIOKafkaConsumer(
        **settings.client(),
        isolation_level="read_committed" if committed else "read_uncommitted",
        enable_auto_commit=False,
        retry_backoff_ms=10,
    )
    async with started(consumer):
        yield consumer


class _Client(Protocol):
    def start(self) -> Awaitable[None]: ...


C = TypeVar("C", bound=_Client)


@asynccontextmanager
async def started(client: C) -> AsyncIterator[C]:
    """Start an aiokafka client, and stop it whatever happens, within a few seconds.

    Raises aiokafka's `KafkaConnectionError`, with the reason, when no broker lets us in.
    """
    try:
        await _start(client)
        yield client
    finally:
        # A consumer that stops while a fetch of its own backs off raises the CancelledError of
        # that fetch, and leaves its connections open. It is not we who are cancelled.
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            async with anyio.create_task_group() as stopping:
                stopping.start_soon(_stop, client)


async def _start(client: _Client) -> None:
    _refused.set(None)
    try:
        await client.start()
    except KafkaConnectionError as error:
        if reason := _refused.get():
            raise KafkaConnectionError(f"{error.args[0]}: {reason}") from reason
        raise


async def _stop(client: Any) -> None:
    try:
        await (client.stop if hasattr(client, "stop") else client.close)()
    finally:
        if hasattr(client, "_client"):
            await client._client.close()  # noqa: SLF001 - there is no public way
