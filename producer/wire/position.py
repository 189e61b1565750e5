"""The position record: up to where an application is published, in the same Kafka transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing

import anyio
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from eventsourcing_kafka.producer.kafka.clients import groupless_consumer
from eventsourcing_kafka.producer.kafka.ranges import Bounds, bounds_of, records_in, steps_back
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.wire.chain import START, Link

KEY = b"relay"

POLL_SECONDS = 0.02

NOWHERE = -1
"""The offset of a record that there is not."""


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What a position record says of the last record of one partition."""

    position: int
    """0 while there is none."""
    identity: str
    lowest: int
    """The lowest offset that it can have: that of the partition's end, when it was sent."""
    before: str
    """The link of the record that was the last one when it was sent: itself, if it was there."""
    anchor: int
    """The offset of that record, from which on this one is to be found."""

    @property
    def link(self) -> Link:
        """Which record it is."""
        return Link(self.position, self.identity)

    def about(self, position: int) -> int:
        """Return about which offset an event up to that record has, or had: an even spread."""
        return self.lowest * min(position, self.position) // self.position if self.position else 0


NOTHING = Said(*START, NOWHERE, START.text, NOWHERE)


class Published(msgspec.Struct, frozen=True):
    """The value of a position record."""

    position: int
    """All notifications up to here are in the topic."""
    partitions: int
    """Over so many partitions. Another count would put an aggregate's events out of order."""
    instance: str
    """Which relay has written it: who finds another one's has been replaced."""
    said: Sequence[Said]
    """What the last record of each partition is to be, with this transaction."""
    application: str = ""
    """Whose it is. Topics are named in lower case, and other names may come to the same."""

    @property
    def ends(self) -> Sequence[Link]:
        """The last record of each partition, with this transaction."""
        return [each.link for each in self.said]

    def is_reached(self, links: Mapping[int, Link]) -> bool:
        """Tell whether what is applied of each partition has come to what this says of it.

        `links` are the records that are applied last. An identity may not be known.
        """
        return len(links) == len(self.said) and all(
            link.position > said.position
            or (link.position == said.position and link.identity in ("", said.identity))
            for said, link in zip(self.said, map(links.get, range(len(self.said))), strict=True)
            if link is not None
        )


def reached_position(candidates: Iterable[Published], links: Mapping[int, Link]) -> int | None:
    """Return the position of the first position record that is reached."""
    return next((each.position for each in candidates if each.is_reached(links)), None)


async def read_published(topics: Topics, settings: KafkaSettings) -> Published | None:
    """Return the last committed position record, reading from the end of its topic."""
    async with groupless_consumer(settings) as committed:
        return await last_published(committed, topics)


async def published_from(position: int, topics: Topics, settings: KafkaSettings) -> Published:
    """Wait until a position is published, and return the position record that says so."""
    async with groupless_consumer(settings) as committed:
        while True:
            last = await last_published(committed, topics)
            if last and last.position >= position:
                return last
            await anyio.sleep(POLL_SECONDS)  # Kafka does not tell.


async def last_published(consumer: AIOKafkaConsumer, topics: Topics) -> Published | None:
    """Do the same, with a consumer that reads what is committed, and has no group."""
    if topics.position not in await consumer.topics():
        return None
    return await last_in(consumer, TopicPartition(topics.position, 0))


async def last_in(consumer: AIOKafkaConsumer, partition: TopicPartition) -> Published | None:
    """Do the same, where it is known that the topic is there."""
    begin, end = (await bounds_of(consumer, [partition]))[partition]
    for start in steps_back(begin, end):
        value = None
        async with aclosing(records_in(consumer, {partition: Bounds(start, end)})) as fetched:
            async for _, records in fetched:
                value = records[-1].value
        if value:
            return msgspec.json.decode(value, type=Published)
    return None
