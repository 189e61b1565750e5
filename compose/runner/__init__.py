"""Runs what is written for the library's own runners over Kafka, unchanged.

`KafkaRunner` runs a System; `KafkaProjectionRunner` and `KafkaEventSourcedProjectionRunner` run a
projection. Each has the interface of its counterpart in the library.

This is the one place of `consumer` that knows the relay: a runner is both ends in one process.
"""

from eventsourcing_kafka.compose.runner.projections import (
    KafkaEventSourcedProjectionRunner,
    KafkaProjectionRunner,
)
from eventsourcing_kafka.compose.runner.system import KafkaRunner

__all__ = ["KafkaEventSourcedProjectionRunner", "KafkaProjectionRunner", "KafkaRunner"]
