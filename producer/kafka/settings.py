"""How to reach Kafka, and what the relay makes there, by environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import msgspec

from eventsourcing_kafka.producer.kafka.security import SECRETS, Security, variable_of
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.misspelt import warn_of_unknown
from eventsourcing_kafka.producer.runtime.secrets import FILE, Secret

NOT_FOR_US = re.compile(r"KAFKA_(.*_)?(OPTS|HOME|PORT|SERVICE|VOTERS|CLUSTER_ID)(_.*)?")
"""What Kafka's own scripts, Kubernetes and our compose file have in an environment."""

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


def _is_for_us(name: str) -> bool:
    return name.startswith("KAFKA_") and not NOT_FOR_US.fullmatch(name)


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
    topic_retention_ms: AtLeastOne | None = None
    """So long a topic of events that the relay creates keeps them; by default for ever. What is
    deleted views read from the write model."""
    topic_retention_bytes: AtLeastOne | None = None
    """So much of each of its partitions; by default all."""
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"
    """Of the records that the relay writes from now on. Every client there is can read gzip."""

    session_timeout_ms: int = 10_000
    """After so long a consumer that is silent loses its partitions to the others."""
    request_timeout_ms: AtLeastOne = 10_000
    """After so long a broker that is silent is given up, and it is asked who has its partitions. A
    cluster misses such a one in about this time; Kafka's clients would wait for 30 seconds."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings out of `env`. Raises `SettingsError` naming the variable at fault.

        Variables that look like settings, and are none, are named in the log.
        """
        names = cls.__struct_encode_fields__
        known = {*names, *SECRETS, *(name + FILE for name in SECRETS)}
        warn_of_unknown((name for name in env if _is_for_us(name)), known)
        given: dict[str, object] = {name: env[name] for name in names if env.get(name)}
        for name in SECRETS:
            given[name] = Secret.from_env(name, env)
        try:
            return msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"The KAFKA_… settings are wrong: {error}") from error

    def client(self) -> dict[str, Any]:
        """Return the arguments that every aiokafka client takes."""
        return {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "request_timeout_ms": self.request_timeout_ms,
            **self.arguments(),
        }

    def compression(self) -> str | None:
        """Return how a producer compresses, as aiokafka calls it."""
        return None if self.compression_type == "none" else self.compression_type
