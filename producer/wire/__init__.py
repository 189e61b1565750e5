"""The published language: what travels from the write model to every view, and how.

One notification of an application becomes one Kafka record, and back:

- the key is the originator ID as text, so that the events of one aggregate keep their order;
- the value is the stored state as plain JSON, which can be turned back into it (or the stored bytes
  themselves, marked as such: ciphertext, or what a mapper of the application's own has made);
- the headers follow CloudEvents 1.0 in the binary mode of its Kafka binding.

`records` converts. `state` is the JSON, without any class of an event; `envelope`, the headers;
`decoding` makes the event, with the application's mapper. `event_types` is the registry of the
classes that a record may name, and `discovery` finds those of an application. `chain` links the
records, and `tracing` carries the traces of commands along.
"""

from eventsourcing_kafka.producer.wire.envelope import Envelope
from eventsourcing_kafka.producer.wire.event_types import (
    EventTypes,
    OutdatedError,
    UnknownEventTypeError,
    WireError,
)
from eventsourcing_kafka.producer.wire.records import Record, WireFormat

__all__ = [
    "Envelope",
    "EventTypes",
    "OutdatedError",
    "Record",
    "UnknownEventTypeError",
    "WireError",
    "WireFormat",
]
