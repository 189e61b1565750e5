"""Runs what is written for the library's own runners over Kafka, unchanged.

`KafkaRunner` runs a System; `KafkaProjectionRunner` and `KafkaEventSourcedProjectionRunner` run a
projection. Each has the interface of its counterpart in the library. `in_thread` is for a program
that is async: it enters, and leaves, what blocks there.

A runner is both ends, relay and consumers, in one process: so it is neither `producer` nor
`consumer`.
"""

from eventsourcing_kafka.compose.runner.projections import (
    KafkaEventSourcedProjectionRunner,
    KafkaProjectionRunner,
)
from eventsourcing_kafka.compose.runner.system import KafkaRunner
from eventsourcing_kafka.consumer.hosting.threads import in_thread

__all__ = [
    "KafkaEventSourcedProjectionRunner",
    "KafkaProjectionRunner",
    "KafkaRunner",
    "in_thread",
]
