"""The published language: what travels from the write model to every view, and how.

One notification of an application becomes one Kafka record, and back:

- the key is the originator ID as text, so that the events of one aggregate keep their order;
- the value is the plain JSON of the event's attributes (or ciphertext, marked as such);
- the headers follow CloudEvents 1.0 in the binary mode of its Kafka binding.

`records` converts. `event_types` is the registry of event classes by their published names, and the
JSON of their attributes; `discovery` finds the classes of an application. `fast_path` converts what
is stored as usual without making the event. `tracing` carries the traces of commands along.
"""

from eventsourcing_kafka.producer.wire.event_types import (
    EventTypes,
    UnknownEventTypeError,
    WireError,
)
from eventsourcing_kafka.producer.wire.records import Envelope, Record, WireFormat

__all__ = [
    "Envelope",
    "EventTypes",
    "Record",
    "UnknownEventTypeError",
    "WireError",
    "WireFormat",
]
