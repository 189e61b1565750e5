"""Where the chain of each partition ends: what a relay has to know before it appends.

What the position record says of a partition is what a relay meant to write there. What counts is
what is there: a transaction may have been torn, a topic made anew, a broker may have lost its
tail. So the tail of a partition is the committed record of ours that has the highest position. Not
the last one: a copy of an older record, which a mirror or an operator may append, is no tail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from eventsourcing_kafka.producer.kafka.ranges import Bounds, bounds_of, records_in
from eventsourcing_kafka.producer.wire.chain import START, Link
from eventsourcing_kafka.producer.wire.position import NOWHERE, Said

logger = logging.getLogger(__name__)

LinkOf = Callable[[ConsumerRecord], Link | None]
"""Returns the link of a record of the application; None of a foreign one."""


class Tail(NamedTuple):
    """The last record of one partition, and where it is."""

    link: Link
    offset: int


EMPTY = Tail(START, NOWHERE)


async def find_tails(
    consumer: AIOKafkaConsumer,
    bounds: Mapping[TopicPartition, Bounds],
    said: Mapping[TopicPartition, Said],
    link_of: LinkOf,
) -> dict[TopicPartition, Tail]:
    """Return the tail of each partition, `EMPTY` where there is none.

    The consumer reads what is committed, and has no group. Each partition is read from where the
    position record says that a record of ours is; if it is not there, the whole partition is.
    """
    anchored = {
        partition: Bounds(said[partition].anchor, end)
        for partition, (begin, end) in bounds.items()
        if begin <= said[partition].anchor < end
    }
    found: dict[TopicPartition, Tail] = {}
    for partition, records in (await _read(consumer, anchored, link_of)).items():
        anchor = records.first
        if (anchor.offset, anchor.link.text) == (said[partition].anchor, said[partition].before):
            found[partition] = records.highest
    whole = {
        partition: bounds[partition]
        for partition, (begin, end) in bounds.items()
        if partition not in found and begin < end
    }
    if lost := [each for each in whole if said[each].anchor != NOWHERE]:
        logger.warning("looking for the last records of %d partitions from the start", len(lost))
    for partition, records in (await _read(consumer, whole, link_of)).items():
        found[partition] = records.highest
    return {
        partition: found.get(partition) or _without_records(bounds[partition], said[partition])
        for partition in bounds
    }


def _without_records(bounds: Bounds, said: Said) -> Tail:
    """Return the tail of a partition that has no record of ours: it has aged out, or is lost.

    It has aged out only if the partition begins behind it, and ends behind its transaction.
    """
    if said.position and bounds.begin > said.lowest and bounds.end > said.lowest + 1:
        return Tail(Link(said.position, said.identity), said.lowest)
    return EMPTY


class _Records(NamedTuple):
    """Of the records of ours that were read in one partition."""

    first: Tail
    highest: Tail
    """The first one that has the highest position."""


async def _read(
    consumer: AIOKafkaConsumer, ranges: Mapping[TopicPartition, Bounds], link_of: LinkOf
) -> dict[TopicPartition, _Records]:
    """Read ranges of partitions; leave out those with no record of ours."""
    read: dict[TopicPartition, _Records] = {}
    async with aclosing(records_in(consumer, ranges)) as fetched:
        async for partition, records in fetched:
            for record in records:
                if (link := link_of(record)) is None:
                    continue
                tail = Tail(link, record.offset)
                first, highest = read.get(partition) or _Records(tail, tail)
                if link.position > highest.link.position:
                    highest = tail
                read[partition] = _Records(first, highest)
    return read


async def are_there(
    consumer: AIOKafkaConsumer, tails: Mapping[TopicPartition, Tail], link_of: LinkOf
) -> bool:
    """Tell whether each tail is still where it was, or has aged out."""
    bounds = await bounds_of(consumer, tails)
    starts = {
        partition: tail.offset
        for partition, tail in tails.items()
        if tail.offset >= bounds[partition].begin
    }
    if any(start >= bounds[partition].end for partition, start in starts.items()):
        return False
    at_tails = {partition: Bounds(start, start + 1) for partition, start in starts.items()}
    read = await _read(consumer, at_tails, link_of)
    return all(
        partition in read and read[partition].first.link == tails[partition].link
        for partition in starts
    )
