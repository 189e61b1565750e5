"""The published language: what travels from the write model to every view, and how.

One notification of an application becomes one Kafka record, and back:

- the key is the originator ID as text, so that the events of one aggregate keep their order;
- the value is the plain JSON of the event's attributes (or ciphertext, marked as such);
- the headers follow CloudEvents 1.0 in the binary mode of its Kafka binding.

`events` knows the event classes by their published names, `discovery` finds those of an
application, `records` converts, `stored` does so sooner with what is stored in the usual way,
`kafka` says where the records of an application are found, and `endurance` keeps both ends
connected.
"""

from eventsourcing_kafka.producer.kafka.clients import KafkaSettings, Topics, partition_of
from eventsourcing_kafka.producer.wire.event_types import (
    EventTypes,
    UnknownEventTypeError,
    WireError,
)
from eventsourcing_kafka.producer.wire.records import Envelope, Record, WireFormat

__all__ = [
    "Envelope",
    "EventTypes",
    "KafkaSettings",
    "Record",
    "Topics",
    "UnknownEventTypeError",
    "WireError",
    "WireFormat",
    "partition_of",
]
