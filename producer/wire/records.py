"""One notification to one Kafka record, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, Self
from uuid import UUID

import msgspec
from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, Notification, StoredEvent

from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.wire.chain import Link, digest, identity_in
from eventsourcing_kafka.producer.wire.event_types import Event, EventType, EventTypes, WireError
from eventsourcing_kafka.producer.wire.fast_path import EncodedEvent, FastPath, StoredDecoder
from eventsourcing_kafka.producer.wire.tracing import trace_of

LARGEST_NUMBER = 2**63 - 1
MAX_DIGITS = len(str(LARGEST_NUMBER))

JSON = b"application/json"
CIPHERTEXT = b"application/octet-stream"

Headers = list[tuple[str, bytes]]


class Record(NamedTuple):
    """What is written to Kafka for one notification."""

    key: bytes
    value: bytes
    headers: Headers
    timestamp_ms: int | None
    """When the event happened, in milliseconds since 1970; None if only its reader may know."""
    position: int
    """The place of its event in its application's sequence."""
    identity: bytes
    """What tells its event from another one at that position."""

    @property
    def link(self) -> Link:
        """Which record it is in the chain. Its predecessor is known to whoever appends it."""
        return Link(self.position, self.identity.decode())


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the headers of a record say of its event, before the event itself is decoded."""

    type: str
    originator_id: str
    version: int
    """The place of the event in its aggregate's sequence: `originator_version`."""
    position: int
    """The place of the event in its application's sequence: `notification_id`."""
    class_version: int
    encrypted: bool
    identity: str
    """What tells it from another event at the same position."""
    predecessor: str
    """The link of the record before it in its partition, as text: to be compared, not to be read.
    """

    @property
    def link(self) -> Link:
        """Which record it is in the chain."""
        return Link(self.position, self.identity)


class EventEncoding(NamedTuple):
    """How all events are published that are stored under one topic of the library's."""

    type: EventType
    topic: bytes
    headers: Headers
    """Those that all of them have."""
    decoder: StoredDecoder | None
    """What publishes those that are stored as usual, without making the event."""


class WireFormat:
    """Converts the notifications of one application to records, and records to events.

    `types` are the event types that a record may name. `mapper` is the application's own: a writer
    needs it to read what is stored; a reader needs it only for ciphertext, with the key in it. An
    application that encrypts its events is published as ciphertext, unless `decrypt` says
    otherwise.
    """

    def __init__(
        self,
        application_name: str,
        types: EventTypes,
        mapper: Mapper[Any] | None = None,
        *,
        decrypt: bool = False,
    ) -> None:
        self.application_name = application_name
        self.types = types
        self._source = f"/{application_name}".encode()
        self._mapper = mapper
        self._fast_path = FastPath.of(mapper) if mapper else None
        self._publish_ciphertext = mapper is not None and mapper.cipher is not None and not decrypt
        self._encodings: dict[str, EventEncoding] = {}

    @classmethod
    def of(cls, application: Application[Any], *, decrypt: bool = False) -> Self:
        """Return what publishes an application, with its own name and mapper.

        The event types are those that it has stored: each is registered when it is first met.
        """
        return cls(application.name, EventTypes(), application.mapper, decrypt=decrypt)

    def to_record(self, notification: Notification) -> Record:
        """Return the record of one notification.

        Raises `WireError` when its event has no JSON form, or another event class has its name.
        """
        topic = notification.topic
        encoding = self._encodings.get(topic) or self._new_encoding(topic)
        version = notification.originator_version
        position = notification.id
        key = str(notification.originator_id).encode()
        event_id = b"%b:%d" % (key, version)
        identity = digest(event_id, encoding.topic, notification.state)
        headers = [
            *encoding.headers,
            ("ce_id", event_id),
            ("ce_subject", key),
            ("ce_partitionkey", key),
            # The sequence extension asks for text that sorts as the numbers do.
            ("ce_sequence", b"%010d" % version),
            ("ce_position", b"%d" % position),
            ("ce_identity", identity),
            *trace_of(notification),
        ]
        if self._publish_ciphertext:
            return Record(key, notification.state, headers, None, position, identity)
        fast = encoding.decoder.encoded(notification) if encoding.decoder else None
        value, timestamp = fast or self._encoded(notification, encoding.type)
        if not isinstance(timestamp, datetime):
            return Record(key, value, headers, None, position, identity)
        if timestamp.utcoffset() is None:  # Then it is a local time, and the headers say which.
            timestamp = timestamp.astimezone(UTC)
        headers.append(("ce_time", msgspec.json.encode(timestamp).strip(b'"')))
        at = int(timestamp.timestamp() * 1000)
        return Record(key, value, headers, at, position, identity)

    def _encoded(self, notification: Notification, event_type: EventType) -> EncodedEvent:
        assert self._mapper is not None  # noqa: S101 - a writer has one
        event = self._mapper.to_domain_event(notification)
        return EncodedEvent(event_type.to_json(event), getattr(event, "timestamp", None))

    def _new_encoding(self, topic: str) -> EventEncoding:
        event_type = self.types.stored_as(topic)
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", event_type.name.encode()),
            ("ce_source", self._source),
            ("ce_sequencetype", b"Integer"),
            ("content-type", CIPHERTEXT if self._publish_ciphertext else JSON),
        ]
        if self._publish_ciphertext:
            headers.append(("ce_encrypted", b"true"))
        if event_type.version > 1:
            headers.append(("ce_classversion", b"%d" % event_type.version))
        decoder = self._fast_path.decoder(event_type) if self._fast_path else None
        encoding = self._encodings[topic] = EventEncoding(
            event_type, topic.encode(), headers, decoder
        )
        return encoding

    def envelope(self, key: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Envelope:
        """Read the headers of a record.

        Raises `WireError` when one is missing, doubled or malformed, or contradicts the key:
        the record was not written by the relay of this application.
        """
        named = dict(headers)
        if len(named) != len(headers):
            raise WireError(f"The header {_doubled(headers)!r} is there twice.")
        try:
            envelope = Envelope(
                named["ce_type"].decode(),
                named["ce_subject"].decode(),
                _natural_number(named["ce_sequence"]),
                _natural_number(named["ce_position"]),
                _natural_number(named["ce_classversion"]) if "ce_classversion" in named else 1,
                "ce_encrypted" in named,
                identity_in(named["ce_identity"]),
                named["ce_predecessor"].decode(),
            )
        except KeyError as error:
            raise WireError(f"The header {error} is missing.") from None
        except (UnicodeDecodeError, ValueError, AttributeError) as error:
            raise WireError(f"A header is malformed: {error}") from None
        if named.get("ce_source") != self._source:
            raise WireError(f"The record is not from {self.application_name}.")
        if key != named["ce_subject"]:
            raise WireError("The key is not the header 'ce_subject'.")
        return envelope

    def to_event(self, envelope: Envelope, value: bytes | None) -> Event:
        """Return the domain event of a record. Raises `WireError` when there is none in it."""
        event_type = self.types.named(envelope.type)
        if value is None:
            raise WireError("The record has no value (a tombstone).")
        event = (
            self._decrypt(event_type, envelope, value)
            if envelope.encrypted
            else event_type.from_json(value, envelope.class_version)
        )
        if (
            # As text: msgspec writes a UUID out much sooner than `str` does.
            msgspec.to_builtins(event.originator_id) != envelope.originator_id
            or event.originator_version != envelope.version
        ):
            raise WireError("The value contradicts the headers: another event, or another version.")
        return event

    def _decrypt(self, event_type: EventType, envelope: Envelope, value: bytes) -> Event:
        if self._mapper is None or self._mapper.cipher is None:
            raise WireError(
                f"{event_type.name} is encrypted, and this reader has no key: "
                "set CIPHER_TOPIC and CIPHER_KEY as the application has them."
            )
        event_type.check_version(envelope.class_version)
        id_type = getattr(event_type.cls, "originator_id_type", None) or UUID
        try:
            return self._mapper.to_domain_event(
                StoredEvent(
                    originator_id=id_type(envelope.originator_id),
                    originator_version=envelope.version,
                    topic=event_type.topic,
                    state=value,
                )
            )
        except ValueError as error:
            raise WireError(
                f"A {event_type.name} can't be decrypted. Is CIPHER_KEY the application's? {error}"
            ) from error


def _natural_number(text: bytes) -> int:
    # int() alone would take "+1", " 1 " and "1_0".
    if text.isdigit() and len(text) <= MAX_DIGITS and (number := int(text)) <= LARGEST_NUMBER:
        return number
    raise ValueError(f"{text[:40]!r} is not a natural number")


def _doubled(headers: Sequence[tuple[str, bytes]]) -> str:
    names = [name for name, _ in headers]
    return next(name for name in names if names.count(name) > 1)


class KafkaRecord(Protocol):
    """A record as Kafka's client returns it."""

    @property
    def topic(self) -> str:
        """The topic it is in."""

    @property
    def partition(self) -> int:
        """The partition it is in."""

    @property
    def offset(self) -> int:
        """Its place there."""

    @property
    def key(self) -> bytes | None:
        """The aggregate's ID, if the relay has written it."""

    @property
    def value(self) -> bytes | None:
        """The event's attributes, if the relay has written it."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The envelope, if the relay has written it."""


def own_envelope(raw: KafkaRecord, wire: WireFormat, partitions: int = 0) -> Envelope:
    """Read the headers of a record. Raises `WireError` if it is foreign."""
    envelope = wire.envelope(raw.key, raw.headers)
    if partitions and (right := partition_of(raw.key or b"", partitions)) != raw.partition:
        raise WireError(f"It is in partition {raw.partition}, and its key belongs in {right}.")
    return envelope
