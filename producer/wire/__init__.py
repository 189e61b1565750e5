"""The published language: what travels from the write model to every view, and how.

One notification of an application becomes one Kafka record, and back:

- the key is the originator ID as text, so that the events of one aggregate keep their order;
- the value is the stored state as plain JSON, which can be turned back into it (or the stored bytes
  themselves, marked as such: ciphertext, or what a mapper of the application's own has made);
- the headers follow CloudEvents 1.0 in the binary mode of its Kafka binding.

A tagged decision has no aggregate: its key is the name of its application, or one of its tags; and
its value is the stored MessagePack as JSON.

`records` converts, and `tagged` what is tagged. `state` is the JSON, without any class of an event,
and `message_pack` that of tagged decisions; `envelope`, the headers; `decoding` makes the event,
with the application's mapper. `event_types` is the registry of the classes that a record may name,
and `discovery` finds those of an application. `chain` links the records, and `tracing` carries the
traces of commands along.
"""

from eventsourcing_kafka.producer.wire.envelope import Envelope
from eventsourcing_kafka.producer.wire.event_types import (
    EventTypes,
    OutdatedError,
    UnknownEventTypeError,
    WireError,
)
from eventsourcing_kafka.producer.wire.records import Record, WireFormat
from eventsourcing_kafka.producer.wire.tagged import reader_of, wire_of

__all__ = [
    "Envelope",
    "EventTypes",
    "OutdatedError",
    "Record",
    "UnknownEventTypeError",
    "WireError",
    "WireFormat",
    "reader_of",
    "wire_of",
]
