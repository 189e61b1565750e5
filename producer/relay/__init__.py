"""The way into Kafka: outbox -> wire -> topic, with the position in the same Kafka transaction.

`relay` is the loop, `linger` gathers what comes while a transaction is under way, `publisher` has
the Kafka transactions and the position in them, `topics` makes and checks the topics. `status` says
how far the relay is, `health` whether it is well, `metrics` what it has done. Whatever goes wrong,
its next session asks Kafka for the position of the last committed transaction, and goes on from
there: nothing is lost or doubled.
"""

from eventsourcing_kafka.producer.relay.health import RelayHealth
from eventsourcing_kafka.producer.relay.publisher import Publisher
from eventsourcing_kafka.producer.relay.relay import Relay, ReplacedError
from eventsourcing_kafka.producer.relay.resume import OtherWriteModelError
from eventsourcing_kafka.producer.relay.status import (
    RelayStatus,
    TopicStatus,
    read_status,
    read_topic,
)
from eventsourcing_kafka.producer.relay.topics import (
    TooLargeError,
    TopicUnfitError,
    prepare_topics,
    read_risks,
)

__all__ = [
    "OtherWriteModelError",
    "Publisher",
    "Relay",
    "RelayHealth",
    "RelayStatus",
    "ReplacedError",
    "TooLargeError",
    "TopicStatus",
    "TopicUnfitError",
    "prepare_topics",
    "read_risks",
    "read_status",
    "read_topic",
]
