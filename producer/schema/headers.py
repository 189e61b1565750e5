"""The headers of a record, described."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventsourcing_kafka.producer.wire.chain import IDENTITY_CHARACTERS
from eventsourcing_kafka.producer.wire.envelope import BYTES, JSON
from eventsourcing_kafka.producer.wire.tracing import TRACEPARENT, TRACESTATE

_NUMBER = {"type": "string", "pattern": "^[0-9]+$"}


def constant(text: str) -> dict[str, Any]:
    """Return the schema of a header that always says the same."""
    return {"type": "string", "const": text}


CLOUD_EVENT: Mapping[str, Any] = {
    "type": "object",
    "description": "CloudEvents 1.0 in the binary mode of its Kafka binding, with the extensions "
    "for partitioning and sequence. Of our own are those for the chain of a partition, where each "
    "record names the one before it, and those that tell how the event is stored: together with "
    "the value they are what is stored.",
    "required": [
        "ce_specversion",
        "ce_type",
        "ce_source",
        "ce_id",
        "ce_subject",
        "ce_partitionkey",
        "ce_sequence",
        "ce_sequencetype",
        "ce_position",
        "ce_identity",
        "ce_predecessor",
        "ce_storedtopic",
        "content-type",
    ],
    "properties": {
        "ce_specversion": constant("1.0"),
        "ce_type": {"type": "string", "description": "The event type."},
        "ce_source": {"type": "string", "description": "The application."},
        "ce_id": {"type": "string", "description": "Subject and sequence: the same for ever."},
        "ce_subject": {"type": "string", "description": "The ID of the aggregate."},
        "ce_partitionkey": {"type": "string", "description": "The same, and the key."},
        "ce_sequence": {
            **_NUMBER,
            "description": "The place of the event in the sequence of its subject, without holes.",
        },
        "ce_sequencetype": constant("Integer"),
        "ce_position": {
            **_NUMBER,
            "description": "The place of the event in the sequence of its source. It grows "
            "inside a partition, and has holes.",
        },
        "ce_identity": {
            "type": "string",
            "pattern": f"^[0-9a-f]{{{IDENTITY_CHARACTERS}}}$",
            "description": "A digest of what is stored. Two events of one position differ in it.",
        },
        "ce_predecessor": {
            "type": "string",
            "pattern": f"^(0|[1-9][0-9]*:[0-9a-f]{{{IDENTITY_CHARACTERS}}})$",
            "description": "Position and identity of the record before it in its partition; 0 for "
            "the first. A reader that finds another one there than it has read has missed some.",
        },
        "ce_time": {
            "type": "string",
            "format": "date-time",
            "description": "When it happened, if the event says so, and in which zone. Read this, "
            "not the record's timestamp: that is in whole milliseconds, and 0 for what happened "
            "before 1970.",
        },
        "ce_classversion": {
            **_NUMBER,
            "description": "The version of the event type that it was stored by; 1 if it is "
            "missing, or unknown if the value is no JSON.",
        },
        "ce_storedtopic": {
            "type": "string",
            "description": "The class that the event is stored under: for programs that have it.",
        },
        "ce_originatortopic": {
            "type": "string",
            "description": "The class of the aggregate that the event creates, if it is not the "
            "one that the event's class is defined in.",
        },
        "ce_unwrapped": {
            "type": "string",
            "contentMediaType": JSON.decode(),
            "description": "A JSON object: the kind of each attribute that is stored in a wrapper "
            "and published without; in a list, that of its elements. It tells a number that is "
            "none from its text.",
        },
        "ce_encrypted": constant("true"),
        "content-type": {"type": "string", "enum": [JSON.decode(), BYTES.decode()]},
        TRACEPARENT: {
            "type": "string",
            "description": "The trace of the command (W3C Trace Context), if it is traced.",
        },
        TRACESTATE: {"type": "string", "description": "What tracing systems add to that."},
    },
}
"""What the headers of every record have."""
