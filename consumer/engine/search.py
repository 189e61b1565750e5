"""Where in a partition the record is that a view has applied last, as Kafka has it now.

A topic may have been made anew, or be another one; a broker may have lost its tail; retention may
have deleted the record. What tells is the chain, read from the partition's start: the first record
that is the one looked for, or else the first that names it as its predecessor. Nothing is probed:
a copy of an older record, which a mirror may have appended, would mislead.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import aclosing
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.producer.kafka.ranges import Bounds, bounds_of, records_in, steps_back
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.wire import WireError, WireFormat
from eventsourcing_kafka.producer.wire.chain import START, Link, link_in
from eventsourcing_kafka.producer.wire.position import Said, last_published
from eventsourcing_kafka.producer.wire.records import own_envelope


class Own(NamedTuple):
    """A record of the application's relay."""

    offset: int
    link: Link
    predecessor: str

    @property
    def follows(self) -> Link | None:
        """Its predecessor; None if what it says is none."""
        try:
            return link_in(self.predecessor)
        except ValueError:
            return None


class Searched(NamedTuple):
    """What a search has found in one partition."""

    bounds: Bounds
    place: int | None
    """The offset of the record; just before its successor if it is deleted; None if not found."""
    next: Own | None
    """The first record after it; if it is not found, the first one that is not applied yet."""
    tail: Link
    """The record with the highest position, as far as the search has come."""


class ChainSearch:
    """Reads any partition of a view's topic, which has so many `partitions`, without a group."""

    def __init__(
        self, kafka: AIOKafkaConsumer, topics: Topics, wire: WireFormat, partitions: int
    ) -> None:
        self._kafka = kafka
        self._topics = topics
        self.topic = topics.events
        self._wire = wire
        self._partitions = partitions

    async def bounds(self, partitions: Iterable[int]) -> Mapping[int, Bounds]:
        """Ask where partitions begin and end."""
        asked = [TopicPartition(self.topic, number) for number in partitions]
        found = await bounds_of(self._kafka, asked)
        return {partition.partition: each for partition, each in found.items()}

    async def said(self, partitions: Collection[int]) -> Mapping[int, Said]:
        """Return what the last position record says of partitions; nothing if there is none."""
        published = await last_published(self._kafka, self._topics)
        said = dict(enumerate(published.said)) if published else {}
        return {number: said[number] for number in partitions if number in said}

    async def search(self, seen: Tracking, earlier: Searched | None = None) -> Searched:
        """Look for the record that is applied last, in the whole of its partition.

        What an `earlier` search without success has read of that is not read again.
        """
        last, (begin, end) = seen.link.text, (await self.bounds([seen.partition]))[seen.partition]
        place = -1 if last == START.text and begin == 0 else None
        successor = unapplied = None
        start, tail = begin, START
        if earlier and earlier.bounds.begin == begin and earlier.bounds.end <= end:
            start, unapplied, tail = earlier.bounds.end, earlier.next, earlier.tail
        async with aclosing(self._own(seen.partition, start, end)) as records:
            async for record in records:
                tail = max(tail, record.link)
                is_new = _is_not_applied(record.link, seen.link)
                # Where the beginning is deleted, behind what is not applied there are but copies.
                may_be_copy = begin > 0 and unapplied is not None
                if place is None and record.link.text == last and not may_be_copy:
                    place = record.offset
                elif is_new and place is not None:
                    return Searched(Bounds(begin, end), place, record, tail)
                elif is_new:
                    unapplied = unapplied or record
                    if record.predecessor == last and not may_be_copy:
                        successor = successor or record
        if place is not None:
            return Searched(Bounds(begin, end), place, None, tail)
        if successor:
            return Searched(Bounds(begin, end), successor.offset - 1, successor, tail)
        return Searched(Bounds(begin, end), None, unapplied, tail)

    async def lost(
        self, trackings: Iterable[Tracking], bounds: Mapping[int, Bounds]
    ) -> Collection[int]:
        """Return the partitions in which a view is not where its offset says that it is.

        The record that is applied last is not where it was, or behind it and before the offset
        there are others that are not applied: published anew, where markers were before. Nothing
        is lost of a partition of which nothing is applied, if it begins at 0.
        """
        seen = {TopicPartition(self.topic, each.partition): each for each in trackings}
        ranges = {}
        for partition, tracking in seen.items():
            begin, end = bounds[partition.partition]
            start = tracking.record_offset if tracking.position else 0
            if begin <= start <= end:
                ranges[partition] = Bounds(start, min(end, max(start + 1, tracking.offset)))
        there = {each for each in ranges if not seen[each].position}
        behind = set()
        async with aclosing(records_in(self._kafka, ranges)) as fetched:
            async for partition, records in fetched:
                for own in filter(None, map(self._as_own, records)):
                    last = seen[partition].link
                    if own.offset == ranges[partition].begin and own.link.text == last.text:
                        there.add(partition)
                    elif _is_not_applied(own.link, last):
                        behind.add(partition)
        return [each.partition for each in seen if each not in there or each in behind]

    async def before(self, partition: int, offset: int) -> Link:
        """Return the predecessor of the first record from an offset on.

        If there is none yet it is the last record before the offset, `START` without one.
        """
        begin, end = (await self.bounds([partition]))[partition]
        async with aclosing(self._own(partition, max(begin, offset), end)) as records:
            async for record in records:
                if link := record.follows:
                    return link
        tail, end = START, min(end, offset)
        for start in steps_back(begin, end):
            async with aclosing(self._own(partition, start, end)) as records:
                async for record in records:
                    tail = max(tail, record.link)
            if tail != START:
                break
        return tail

    async def _own(self, partition: int, start: int, end: int) -> AsyncGenerator[Own, None]:
        """Yield the records of ours from one offset to another one."""
        at = TopicPartition(self.topic, partition)
        async with aclosing(records_in(self._kafka, {at: Bounds(start, end)})) as fetched:
            async for _, records in fetched:
                for record in records:
                    if own := self._as_own(record):
                        yield own

    def _as_own(self, record: ConsumerRecord) -> Own | None:
        try:
            envelope = own_envelope(record, self._wire, self._partitions)
        except WireError:
            return None
        return Own(record.offset, envelope.link, envelope.predecessor)


def _is_not_applied(link: Link, last: Link) -> bool:
    """Tell whether a record is neither the last that is applied nor one before it."""
    return link.position > last.position or (
        link.position == last.position and link.text != last.text
    )
