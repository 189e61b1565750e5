"""One notification to one Kafka record, and back."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from datetime import datetime
from types import ModuleType
from typing import Any, NamedTuple, Protocol, Self

from eventsourcing.persistence import Compressor, JSONTranscoder, Mapper, Notification, StoredEvent
from isal import isal_zlib

from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.wire.chain import Link, digest
from eventsourcing_kafka.producer.wire.decoding import EventDecoder, stored_state
from eventsourcing_kafka.producer.wire.envelope import BYTES, JSON, Envelope, Headers, envelope_in
from eventsourcing_kafka.producer.wire.event_types import (
    Event,
    EventType,
    EventTypes,
    OutdatedError,
    WireError,
    published_name,
)
from eventsourcing_kafka.producer.wire.state import NoJSONError, Published, StateError, publish
from eventsourcing_kafka.producer.wire.tracing import trace_of

GZIP = 16 + 15
"""How zlib's `wbits` says that there is a gzip header; the window is the largest."""


class Record(NamedTuple):
    """What is written to Kafka for one notification."""

    key: bytes
    value: bytes
    headers: Headers
    timestamp_ms: int | None
    """When the event happened, in milliseconds since 1970, or 0 if it was before; None if only its
    reader may know."""
    position: int
    """The place of its event in its application's sequence."""
    identity: bytes
    """What tells its event from another one at that position."""

    @property
    def link(self) -> Link:
        """Which record it is in the chain. Its predecessor is known to whoever appends it."""
        return Link(self.position, self.identity.decode())


class Stored(Protocol):
    """What is known of an application whose events are published."""

    @property
    def name(self) -> str:
        """The name of the application."""

    @property
    def mapper(self) -> Mapper[Any]:
        """Its mapper, or one with its settings."""


class WireFormat:
    """Converts the notifications of one application to records, and records to events.

    `types` are the event types that a record may name. `mapper` is the application's own: a writer
    needs it to read what is stored, but no class of an event; a reader, to make events of it, if
    the application has transcodings of its own, or encrypts. What is encrypted is published as
    ciphertext, unless `decrypt` says otherwise; what a mapper or a transcoder of the application's
    own has made, as the bytes that are stored.
    """

    ordered_as_a_whole = False
    """Whether there is nothing to key the records by, so that one partition is enough."""

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
        self._state = _plain_state(mapper, decrypt) if mapper else None
        self.encrypted = self._state is None and mapper is not None and mapper.cipher is not None
        self._decoder = EventDecoder(types, mapper)
        self._headers: dict[str, tuple[bytes, Headers]] = {}

    @classmethod
    def of(cls, application: Stored, *, decrypt: bool = False) -> Self:
        """Return what publishes an application, with its own name and mapper."""
        return cls(application.name, EventTypes(), application.mapper, decrypt=decrypt)

    def to_record(self, notification: Notification) -> Record:
        """Return the record of one notification.

        Raises `WireError` when what is stored is not what the application's settings say.
        """
        try:
            return self._record_of(notification)
        except Exception as error:
            raise WireError(
                f"{published_name(notification.topic)} {notification.originator_id} version "
                f"{notification.originator_version}, at position {notification.id}, can't be "
                f"published: {error}" + (f". {ADVICE}" if _may_be_a_setting(error) else "")
            ) from error

    def _record_of(self, notification: Notification) -> Record:
        topic = notification.topic
        stored_under, headers = self._headers.get(topic) or self._new_headers(topic)
        version = notification.originator_version
        position = notification.id
        originator_id = str(notification.originator_id)
        key = originator_id.encode()
        event_id = b"%b:%d" % (key, version)
        identity = digest(event_id, stored_under, notification.state)
        headers = [
            *headers,
            ("ce_id", event_id),
            ("ce_subject", key),
            ("ce_partitionkey", key),
            # The sequence extension asks for text that sorts as the numbers do.
            ("ce_sequence", b"%010d" % version),
            ("ce_position", b"%d" % position),
            ("ce_identity", identity),
            *trace_of(notification),
        ]
        if self._state is None:
            return Record(key, notification.state, headers, None, position, identity)
        published = publish(self._state(notification.state), topic, originator_id, version)
        at = _add_what_is_stored(headers, published)
        return Record(key, published.value, headers, at, position, identity)

    def key_of(self, notification: Notification) -> bytes:
        """Return what its events are ordered by: the ID of the aggregate."""
        return str(notification.originator_id).encode()

    def _new_headers(self, topic: str) -> tuple[bytes, Headers]:
        """Return a stored topic, and the headers that all of its events have."""
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", published_name(topic).encode()),
            ("ce_source", self._source),
            ("ce_sequencetype", b"Integer"),
            ("ce_storedtopic", topic.encode()),
            ("content-type", BYTES if self._state is None else JSON),
        ]
        if self.encrypted:
            headers.append(("ce_encrypted", b"true"))
        found = self._headers[topic] = topic.encode(), headers
        return found

    def envelope(self, key: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Envelope:
        """Read the headers of a record.

        Raises `WireError` when one is missing, doubled or malformed, or contradicts the key:
        the record was not written by the relay of this application.
        """
        return envelope_in(headers, key, self._source)

    def to_event(self, envelope: Envelope, value: bytes | None) -> Event:
        """Return the domain event of a record, made by the application's mapper.

        Raises `WireError` when there is none in it, and `OutdatedError` when it is newer than the
        classes that are known here.
        """
        return self.event_of(self.event_type(envelope), envelope, value)

    def event_type(self, envelope: Envelope) -> EventType:
        """Return the type of a record's event. Raises `UnknownEventTypeError`."""
        event_type = self.types.find(envelope.topic)
        if event_type is None:
            raise self.types.unknown(envelope.topic)
        return event_type

    def event_of(self, event_type: EventType, envelope: Envelope, value: bytes | None) -> Event:
        """Do as `to_event`, where the type is known already."""
        event_type.check_version(envelope.class_version)
        if value is None:
            raise WireError("The record has no value (a tombstone).")
        try:
            return self._decoder.decoded(event_type, envelope, value)
        except WireError:
            raise
        except Exception as error:  # The class's own code, over what was not checked yet.
            if isinstance(error.__cause__, OutdatedError):
                raise error.__cause__ from None
            said = f"{type(error).__name__}: {error}"
            asked = " Is CIPHER_KEY the application's?" if envelope.encrypted else ""
            raise WireError(f"The value is not a {event_type.name}: {said}.{asked}") from error

    def to_stored(self, envelope: Envelope, value: bytes) -> StoredEvent:
        """Return the stored event that a record was made of, its state uncompressed.

        Raises `StateError` when the value is not of this event.
        """
        return StoredEvent(
            originator_id=envelope.originator_id,
            originator_version=envelope.version,
            topic=envelope.topic,
            state=stored_state(envelope, value),
        )


ADVICE = (
    "Are COMPRESSOR_TOPIC, CIPHER_TOPIC and CIPHER_KEY as the application has them? If it has a "
    "mapper or a transcoder of its own, name its class: -a module:Class."
)


def _add_what_is_stored(headers: Headers, published: Published) -> int | None:
    """Add the headers that tell how a state was stored; return when its event happened, in ms."""
    if published.kinds:
        headers.append(("ce_unwrapped", published.kinds))
    if published.class_version > 1:
        headers.append(("ce_classversion", b"%d" % published.class_version))
    if published.created is not None:
        headers.append(("ce_originatortopic", published.created.encode()))
    if published.timestamp is None:
        return None
    try:
        time = datetime.fromisoformat(published.timestamp)
    except ValueError:  # No day of any calendar: it stays an attribute.
        return None
    if time.tzinfo is None:  # When that was, only the application can tell.
        return None
    headers.append(("ce_time", published.timestamp.encode()))
    # Kafka has no times before 1970: a negative one means that there is none.
    return max(0, int(time.timestamp() * 1000))


def _may_be_a_setting(error: Exception) -> bool:
    """Tell whether it is about bytes that are not what the settings say, not about an event."""
    return not isinstance(error, (StateError, UnicodeEncodeError)) or isinstance(error, NoJSONError)


def _plain_state(mapper: Mapper[Any], decrypt: bool) -> Callable[[bytes], bytes] | None:
    """Return what makes the library's JSON of a stored state; None to publish it as it is."""
    if type(mapper) is not Mapper or type(mapper.transcoder) is not JSONTranscoder:
        return None
    decompress = _decompressing(mapper.compressor)
    cipher = mapper.cipher
    if cipher is None:
        return decompress
    if not decrypt:
        return None
    return lambda state: decompress(cipher.decrypt(state))


def _decompressing(compressor: Compressor | ModuleType | None) -> Callable[[bytes], bytes]:
    if compressor is gzip:  # `COMPRESSOR_TOPIC` names the module.
        return _gunzip
    return compressor.decompress if compressor else bytes


def _gunzip(state: bytes) -> bytes:
    """Decompress what one call of `gzip.compress` has made.

    It takes half the time of Python's own, most of which is spent in reading.
    """
    decompressor = isal_zlib.decompressobj(GZIP)
    decompressed = decompressor.decompress(state)
    if decompressor.unused_data or not decompressor.eof:
        return gzip.decompress(state)
    return decompressed


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
