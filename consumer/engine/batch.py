"""What a batch is: spans of consecutive records, read as far as the view needs them.

What follows what is applied is decided here, record by record: the chain tells.

Also what an operator has reset the group's offset of a partition to. Nothing here, nor in what
applies batches and keeps the tracking, needs the Kafka client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Self

import msgspec

from eventsourcing_kafka.consumer.engine.tracking import Move, Tracking
from eventsourcing_kafka.consumer.unit_of_work import Event, Place
from eventsourcing_kafka.producer.wire import Envelope, EventTypes, WireError, WireFormat
from eventsourcing_kafka.producer.wire.records import KafkaRecord, own_envelope


class ResetKind(StrEnum):
    """What an operator means who has reset the group's offset of a partition."""

    REPLAY = "replay"
    """It was set back: all of the partition again, for a view has no way back to the middle."""
    SKIP = "skip"
    """It was set forward: what lies between is to be passed over."""


class OffsetReset(NamedTuple):
    """What an operator has reset the group's offset of a partition to."""

    partition: int
    offset: int
    kind: ResetKind


class RawRecord(NamedTuple):
    """A record that is read from where it was kept."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class ConsumedRecord(msgspec.Struct, frozen=True):
    """One record, and what it means for the view."""

    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    envelope: Envelope | None = None
    """None if the record is foreign: not of this application's relay, or not in its partition."""
    event: Event | None = None
    """None if the view does not ask for this type, or the record can't be read."""
    error: WireError | None = None

    @classmethod
    def of(
        cls, raw: KafkaRecord, wire: WireFormat, wanted: EventTypes, partitions: int = 0
    ) -> Self:
        """Read a record as far as the view needs it: often its headers are enough.

        With the count of the topic's `partitions` known, one in a partition that is not its key's
        is an error: it is not the relay's, and its aggregate's others are in order without it.
        """
        key, value, headers = raw.key, raw.value, raw.headers
        envelope = event = error = None
        try:
            envelope = own_envelope(raw, wire, partitions)
            event_type = wire.event_type(envelope)
            if event_type in wanted:
                event = wire.event_of(event_type, envelope, value)
        except WireError as reason:
            error = reason
        return cls(
            raw.topic, raw.partition, raw.offset, key, value, headers, envelope, event, error
        )

    @property
    def originator_id(self) -> str:
        """The aggregate that the record belongs to, as far as can be told: at least its key."""
        if self.envelope:
            text = self.envelope.originator_id
        else:
            text = (self.key or b"").decode(errors="backslashreplace")
        return text.replace("\0", "\\0")

    @property
    def place(self) -> Place:
        """Where its event comes from."""
        return Place(self.partition, self.envelope.position if self.envelope else 0)


class Span(NamedTuple):
    """Consecutive records of one partition. A batch is spans of several partitions."""

    partition: int
    start: int
    """The offset that the previous span ended with."""
    end: int
    """The offset to go on from."""
    records: Sequence[ConsumedRecord]

    def after(self, seen: Mapping[int, Tracking]) -> Span | None:
        """Return the part of it that comes next: none after a seek, or when the owner changed."""
        tracking = seen.get(self.partition)
        if tracking is None or not self.start <= tracking.offset < self.end:
            return None
        if tracking.offset == self.start:
            return self
        records = [record for record in self.records if record.offset >= tracking.offset]
        return self._replace(start=tracking.offset, records=records)

    def following(self, earlier: Span | None) -> Span:
        """Return it joined to what comes before it; itself if that ends elsewhere: it is void."""
        if earlier is None or earlier.end != self.start:
            return self
        return self._replace(start=earlier.start, records=[*earlier.records, *self.records])

    def before(self, offset: int) -> Span:
        """Return the part of it that lies before an offset."""
        records = [record for record in self.records if record.offset < offset]
        return self._replace(end=offset, records=records)


class Followed(NamedTuple):
    """A span as far as it follows what is applied."""

    span: Span
    move: Move
    """The step of the tracking past it, with what of it is new."""
    broken: bool = False
    """Whether it ends before a record that does not follow."""


def follow(span: Span, seen: Tracking) -> Followed:
    """Return a span up to the first record that does not follow what was `seen`, or all of it.

    A record follows if its predecessor is the last one, whether it can be decoded or not. What was
    applied before, or is a copy, is passed over; what is foreign is new, and moves no position.
    """
    news: list[ConsumedRecord] = []
    broken = False
    position, last, previous = seen.position, seen.link.text, None
    for record in span.records:
        envelope = record.envelope
        if envelope is None:
            news.append(record)
        elif envelope.predecessor == last and envelope.position > position:
            news.append(record)
            previous = record
            position = envelope.position
            last = f"{position}:{envelope.identity}"
        elif envelope.position > position or (
            envelope.position == position and envelope.link.text != last
        ):
            span, broken = span.before(record.offset), True
            break
    to = seen._replace(offset=span.end)
    if previous and previous.envelope:
        to = Tracking(
            span.partition, position, span.end, previous.envelope.identity, previous.offset
        )
    return Followed(span, Move(seen, to, len(span.records), news=news), broken)
