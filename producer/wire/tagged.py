"""One tagged decision to one Kafka record, and back: what `records` does for events of aggregates.

There is no aggregate, so no record says of one. The order of such events is the application's:
its name is the key of all, and so they are in one partition. Where a tag of some prefix is to be
the key, each event must have exactly one of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any

from eventsourcing.application import Application
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.domain import Decision, InitialDecision
from eventsourcing.dcb.msgpack import MessagePackMapper
from eventsourcing.dcb.persistence import DCBMapper
from eventsourcing.persistence import Mapper, Notification, StoredEvent

from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.wire import message_pack
from eventsourcing_kafka.producer.wire.chain import digest, identity_in
from eventsourcing_kafka.producer.wire.envelope import (
    BYTES,
    JSON,
    Envelope,
    Headers,
    doubled,
    natural_number,
    stored_under,
)
from eventsourcing_kafka.producer.wire.event_types import (
    EventType,
    EventTypes,
    WireError,
    published_name,
)
from eventsourcing_kafka.producer.wire.records import Record, WireFormat
from eventsourcing_kafka.producer.wire.tags import (
    TaggedNotification,
    stored_as,
    tags_as_text,
    tags_in,
)
from eventsourcing_kafka.producer.wire.tracing import trace_of

PARTITION_BY_TAG = "PARTITION_BY_TAG"
"""The setting of an application that names the prefix of the tags that are its records' keys."""

AS_A_WHOLE = (
    f"keep the order of all: do without --partition-by-tag, and without {PARTITION_BY_TAG}."
)

CREATED = "originator_topic"
"""The attribute of a decision that creates an enduring object: the topic of its class."""


class KeyedOtherwiseError(OperatorError):
    """The topic has records that are keyed otherwise than the relay is told to key them."""

    def __init__(self, application_name: str, found: str, told: str) -> None:
        super().__init__(
            f"The topic of {application_name} has records that are keyed {_by(found)}, and what is "
            f"to be published now is keyed {_by(told)}: events would lose their order. Set "
            f"{application_name.upper()}_{PARTITION_BY_TAG}={found}, as it was, or publish to a "
            "new topic: choose another KAFKA_TOPIC_PREFIX, and rebuild the views."
        )


def _by(prefix: str) -> str:
    return f"by the tags that begin with {prefix!r}" if prefix else "by no tag"


class TaggedWireFormat(WireFormat):
    """Converts the tagged decisions of one application to records, and records to decisions.

    `tag_prefix` says which tags are keys; without it the order of all events is kept. A reader does
    not say it: it goes by what a record says. Data is published as JSON if it is MessagePack as
    the library's mapper writes it; what a `mapper` of the application's own makes, as it is.
    """

    def __init__(
        self,
        application_name: str,
        types: EventTypes,
        mapper: DCBMapper[Any] | None = None,
        *,
        tag_prefix: str | None = None,
    ) -> None:
        super().__init__(application_name, types)
        self.ordered_as_a_whole = tag_prefix == ""
        self._tag_prefix = tag_prefix
        self._mapper = mapper or MessagePackMapper()
        self._is_message_pack = type(self._mapper) is MessagePackMapper
        self._whole = application_name.encode()

    @classmethod
    def of_application(cls, application: DCBApplication) -> TaggedWireFormat:
        """Return what publishes an application, keyed as its settings say."""
        prefix = application.env.get(PARTITION_BY_TAG) or ""
        mapper = getattr(application, "mapper", None)
        return cls(application.name, EventTypes(), mapper, tag_prefix=prefix)

    def to_record(self, notification: Notification) -> Record:
        """Return the record of one decision.

        Raises `WireError` for one that has no tag to be keyed by, or several.
        """
        assert isinstance(notification, TaggedNotification)  # noqa: S101 - its outbox reads no other
        topic, data, position = notification.topic, bytes(notification.state), notification.id
        tags, stored_topic = tags_as_text(tuple(notification.tags)), topic.encode()
        key, identity = self.key_of(notification), digest(tags, stored_topic, data)
        published = message_pack.publish(data) if self._is_message_pack else None
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", published_name(topic).encode()),
            ("ce_source", self._source),
            ("ce_storedtopic", stored_topic),
            ("content-type", JSON if published else BYTES),
            ("ce_id", b"%d" % position),
            ("ce_tags", tags),
            *(_keyed(self._tag_prefix, key) if self._tag_prefix else ()),
            ("ce_partitionkey", key),
            ("ce_position", b"%d" % position),
            ("ce_identity", identity),
            *trace_of(notification),
        ]
        if published is None:
            return Record(key, data, headers, None, position, identity)
        if published.kinds:
            headers.append(("ce_unwrapped", published.kinds))
        return Record(
            key, published.value, headers, _add_time(headers, published), position, identity
        )

    def key_of(self, notification: Notification) -> bytes:
        """Return what events are ordered by: a tag, or the name of the application for all.

        Raises `WireError`.
        """
        prefix = self._tag_prefix
        if not prefix:
            return self._whole
        assert isinstance(notification, TaggedNotification)  # noqa: S101 - its outbox reads no other
        keys = {tag for tag in notification.tags if tag.startswith(prefix)}
        refused = f"{published_name(notification.topic)} at position {notification.id} can't be "
        refused += "published: it is to be keyed by "
        if len(keys) != 1:
            raise WireError(
                f"{refused}the one tag that begins with {prefix!r}, and it has "
                f"{' and '.join(map(ascii, sorted(keys))) if keys else 'none'}. Name a prefix of "
                f"which each event has exactly one tag, or {AS_A_WHOLE}"
            )
        (tag,) = keys
        try:
            return tag.encode()
        except UnicodeEncodeError as error:
            raise WireError(
                f"{refused}its tag {tag!a}, which has a lone surrogate at {error.start}, and that "
                f"has no encoding. Mend the tag in the write model, or {AS_A_WHOLE}"
            ) from None

    def envelope(self, key: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Envelope:
        """Read the headers of a record.

        Raises `WireError` when one is missing, doubled or malformed, or contradicts the key: the
        record was not written by the relay of this application. Raises `KeyedOtherwiseError` if it
        was, and has another kind of key than those to be written.
        """
        named = dict(headers)
        if len(named) != len(headers):
            raise WireError(f"The header {doubled(headers)!r} is there twice.")
        try:
            topic, name, name_as_bytes = stored_under(named["ce_storedtopic"])
            prefix = named.get("ce_tagprefix", b"").decode()
            envelope = Envelope(
                type=name,
                topic=topic,
                originator_id=named["ce_partitionkey"].decode(),
                version=0,
                position=natural_number(named["ce_position"]),
                class_version=1,
                encrypted=False,
                is_json=named["content-type"] == JSON,
                kinds=bytes(named.get("ce_unwrapped", b"")),
                created=None,
                identity=identity_in(named["ce_identity"]),
                predecessor=named["ce_predecessor"].decode(),
                tags=tags_in(bytes(named["ce_tags"])),
                of_the_whole=not prefix,
            )
            is_its_name = bytes(named["ce_type"]) == name_as_bytes
        except KeyError as error:
            raise WireError(f"The header {error} is missing.") from None
        except (UnicodeDecodeError, ValueError, AttributeError, TypeError) as error:
            raise WireError(f"A header is malformed: {error}") from None
        self._check_own(envelope, key, named, prefix)
        if not is_its_name:
            raise WireError("The header 'ce_type' is not what is published of 'ce_storedtopic'.")
        return envelope

    def _check_own(
        self, envelope: Envelope, key: bytes | None, named: dict[str, bytes], prefix: str
    ) -> None:
        if named.get("ce_source") != self._source:
            raise WireError(f"The record is not from {self.application_name}.")
        if key != named["ce_partitionkey"]:
            raise WireError("The key is not the header 'ce_partitionkey'.")
        keys = {tag for tag in envelope.tags if tag.startswith(prefix)}
        if {envelope.originator_id} != (keys if prefix else {self.application_name}):
            raise WireError("The key is not the tag that it is to be, nor the application's name.")
        if self._tag_prefix is not None and prefix != self._tag_prefix:
            raise KeyedOtherwiseError(self.application_name, prefix, self._tag_prefix)

    def event_of(self, event_type: EventType, envelope: Envelope, value: bytes | None) -> Any:
        """Return the tagged decision of a record, made by the application's mapper.

        Raises `WireError` when there is none in it.
        """
        if value is None:
            raise WireError("The record has no value (a tombstone).")
        try:
            stored = self._stored(envelope, value)
            tagged = self._mapper.to_domain_event(stored.event)
        except Exception as error:  # The class's own code, over what was not checked yet.
            said = f"{type(error).__name__}: {error}"
            raise WireError(f"The value is not a {event_type.name}: {said}.") from error
        if isinstance(tagged.decision, InitialDecision):
            self._check_created(event_type, tagged.decision)
        return tagged

    def _check_created(self, event_type: EventType, decision: InitialDecision) -> None:
        """Have it name a class that is known: the library will import it."""
        created = getattr(decision, CREATED, None)
        if not (isinstance(created, str) and self.types.knows_aggregate(created)):
            raise WireError(f"A {event_type.name} creates {created!r}, which is not registered.")

    def to_stored(self, envelope: Envelope, value: bytes) -> StoredEvent:
        """Return what the record was made of. Raises `StateError` if it was made of nothing."""
        return self._stored(envelope, value)

    def _stored(self, envelope: Envelope, value: bytes) -> TaggedNotification:
        data = message_pack.restore(value, envelope.kinds) if envelope.is_json else value
        return stored_as(envelope.tags, envelope.topic, data, envelope.position)


def wire_of(application: Application[Any] | DCBApplication, *, decrypt: bool = False) -> WireFormat:
    """Return what publishes an application, of either kind, with its own name and mapper."""
    if isinstance(application, DCBApplication):
        return TaggedWireFormat.of_application(application)
    return WireFormat.of(application, decrypt=decrypt)


def reader_of(
    application_name: str, types: EventTypes, mapper: Mapper[Any] | DCBMapper[Any] | None
) -> WireFormat:
    """Return what reads the records of an application, whose types and mapper tell its kind."""
    if isinstance(mapper, DCBMapper) or (mapper is None and _are_decisions(types)):
        return TaggedWireFormat(application_name, types, mapper)
    return WireFormat(application_name, types, mapper)


def domain_events_of(application: Application[Any] | DCBApplication) -> Callable[[Any], Any]:
    """Return what makes an event of a notification of an application, as the application has it."""
    if not isinstance(application, DCBApplication):
        return application.mapper.to_domain_event
    tagged: DCBMapper[Any] = getattr(application, "mapper", None) or MessagePackMapper()
    return lambda notification: tagged.to_domain_event(notification.event)


def _are_decisions(types: EventTypes) -> bool:
    return any(issubclass(each.cls, Decision) for each in types)


def _keyed(prefix: str, key: bytes) -> Headers:
    return [("ce_subject", key), ("ce_tagprefix", prefix.encode())]


def _add_time(headers: Headers, published: message_pack.Published) -> int | None:
    """Add when it happened, if it says so; return that in milliseconds."""
    if published.time is None:
        return None
    headers.append(("ce_time", published.time.isoformat().replace("+00:00", "Z").encode()))
    # Kafka has no times before 1970: a negative one means that there is none.
    return max(0, int(published.time.astimezone(UTC).timestamp() * 1000))
