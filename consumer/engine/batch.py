"""What a batch is: spans of consecutive records, read as far as the view needs them."""

from __future__ import annotations

from collections.abc import (
    Mapping,
    Sequence,
)
from enum import StrEnum
from typing import NamedTuple, Self

import msgspec
from aiokafka import (
    ConsumerRecord,
)

from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.consumer.unit_of_work import Event, Place
from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.wire import Envelope, EventTypes, WireError, WireFormat


class Wanted(StrEnum):
    """What an operator wants who has set the group's offset of a partition."""

    REPLAY = "replay"
    """It was set back: all of the partition again, for a view has no way back to the middle."""
    SKIP = "skip"
    """It was set forward: what lies between is to be passed over."""


class Wish(NamedTuple):
    """What an operator has set the group's offset of a partition to."""

    partition: int
    offset: int
    wanted: Wanted
    first_in_kafka: int
    """The first offset that Kafka has not deleted."""


class Item(msgspec.Struct, frozen=True):
    """One record, and what it means for the view."""

    record: ConsumerRecord
    envelope: Envelope | None
    """None if the headers can't be read."""
    event: Event | None
    """None if the view does not ask for this type, or the record can't be read."""
    error: WireError | None

    @classmethod
    def of(
        cls, record: ConsumerRecord, wire: WireFormat, wanted: EventTypes, partitions: int = 0
    ) -> Self:
        """Read a record as far as the view needs it: often its headers are enough.

        With the count of the topic's `partitions` known, one in a partition that is not its key's
        is an error: it is not the relay's, and its aggregate's others are in order without it.
        """
        envelope = event = error = None
        try:
            envelope = wire.envelope(record.key, record.headers)
            if partitions:
                _check_place(record, partition_of(record.key, partitions))
            if envelope.type in wanted or envelope.type not in wire.types:
                event = wire.to_event(envelope, record.value)
        except WireError as reason:
            error = reason
        return cls(record, envelope, event, error)

    @property
    def originator_id(self) -> str:
        """The aggregate that the record belongs to, as far as can be told: at least its key."""
        if self.envelope:
            text = self.envelope.originator_id
        else:
            text = (self.record.key or b"").decode(errors="backslashreplace")
        return text.replace("\0", "\\0")


def _check_place(record: ConsumerRecord, partition: int) -> None:
    if record.partition != partition:
        raise WireError(
            f"It is in partition {record.partition}, and its key belongs in {partition}."
        )


class Located(NamedTuple):
    """A record of a batch, and the partition that it is in."""

    partition: int
    item: Item

    @property
    def place(self) -> Place:
        """Where its event comes from."""
        envelope = self.item.envelope
        return Place(self.partition, envelope.position if envelope else 0)


class Span(NamedTuple):
    """Consecutive records of one partition. A batch is spans of several partitions."""

    partition: int
    start: int
    """The offset that the previous span ended with."""
    end: int
    """The offset to go on from."""
    items: Sequence[Item]

    def after(self, seen: Mapping[int, Tracking]) -> Span | None:
        """Return the part of it that comes next: none after a seek, or when the owner changed."""
        tracking = seen.get(self.partition)
        if tracking is None or not self.start <= tracking.offset < self.end:
            return None
        if tracking.offset == self.start:
            return self
        items = [item for item in self.items if item.record.offset >= tracking.offset]
        return self._replace(start=tracking.offset, items=items)

    def following(self, earlier: Span | None) -> Span:
        """Return it joined to what comes before it; itself if that ends elsewhere: it is void."""
        if earlier is None or earlier.end != self.start:
            return self
        return self._replace(start=earlier.start, items=[*earlier.items, *self.items])

    def before(self, offset: int) -> Span:
        """Return the part of it that lies before an offset."""
        items = [item for item in self.items if item.record.offset < offset]
        return self._replace(end=offset, items=items)

    def moved(self, seen: Tracking) -> Tracking:
        """Return the tracking of the partition after this span."""
        # What can't be read may lie about its position.
        positions = (
            item.envelope.position for item in self.items if item.envelope and not item.error
        )
        return Tracking(self.partition, max([seen.position, *positions]), self.end)
