"""Compares the records of a topic with the notifications of the write model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from aiokafka import ConsumerRecord
from eventsourcing.persistence import Notification

from eventsourcing_kafka.compose.audit.position_set import PositionSet
from eventsourcing_kafka.compose.audit.records import PositionedRecord, TopicReader
from eventsourcing_kafka.compose.audit.report import Fault, Finding, Findings, TopicReport
from eventsourcing_kafka.compose.audit.tracking import TrackingAudit
from eventsourcing_kafka.compose.audit.write_model import WriteModel
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.wire import Record, WireError, WireFormat
from eventsourcing_kafka.producer.wire.chain import Link, link_in
from eventsourcing_kafka.producer.wire.position import Published, read_published
from eventsourcing_kafka.producer.wire.tracing import TRACE_HEADERS

BLOCK = 500
"""Notifications that are read at once."""
BLOCKS = 8
"""Blocks that are kept. Where the topic is in order, each is read once."""
LONGEST_VALUE = 60

Advance = Callable[[str, int, int], None]
"""Is told what is being compared, how far it is, and how far that goes."""


def no_progress(what: str, done: int, total: int) -> None:
    """Show no progress."""


NOT_OF_THE_EVENT = {*TRACE_HEADERS, "ce_predecessor"}


class Expected(NamedTuple):
    """What must be in the topic for one notification."""

    key: bytes
    partition: int
    id: bytes
    """The header `ce_id`."""
    type: str
    timed: bool
    """Whether the record has the time of the event, or that of its publishing."""
    digest: bytes

    @classmethod
    def of(cls, record: Record, partitions: int) -> Expected:
        """Keep of a record what is needed to recognise it."""
        key, value, headers, timestamp, *_ = record
        named = dict(headers)
        return cls(
            key,
            partition_of(key, max(1, partitions)),
            named["ce_id"],
            named["ce_type"].decode(),
            timestamp is not None,
            _digest(key, value, headers, timestamp),
        )

    def is_in(self, found: ConsumerRecord) -> bool:
        """Tell whether a record has exactly this, in every byte."""
        timestamp = found.timestamp if self.timed else None
        return self.digest == _digest(found.key, found.value, _headers(found), timestamp)

    def is_claimed_by(self, found: ConsumerRecord) -> bool:
        """Tell whether a record that claims its position is of this notification, altered or not.

        Another application's record can have the same position.
        """
        return found.key == self.key or ("ce_id", self.id) in found.headers


class ExpectedRecords:
    """What must be in the topic, by position. A few blocks of it are in memory."""

    def __init__(self, model: WriteModel, wire: WireFormat, partitions: int) -> None:
        self.known = PositionSet()
        """All positions that were read and that there are: the others are holes."""
        self._model = model
        self._wire = wire
        self._partitions = partitions
        self._blocks: OrderedDict[int, Mapping[int, Expected]] = OrderedDict()
        self._read: set[int] = set()

    async def at(self, position: int) -> Expected | None:
        """Return what must be there for the notification at a position, if there is one."""
        number = position // BLOCK
        block = self._blocks.get(number)
        if block is None or position not in block:  # It may have been written meanwhile.
            block = await self._read_block(number)
        return block.get(position)

    async def read_up_to(self, position: int) -> None:
        """Read the blocks that were not asked for."""
        for number in range(position // BLOCK + 1):
            if number not in self._read:
                await self._read_block(number)

    async def record(self, position: int) -> Record:
        """Return the record of one notification."""
        (notification,) = await self._model.between(position, position)
        return self._wire.to_record(notification)

    def check_kind_of_key(self, found: ConsumerRecord) -> None:
        """Raise `KeyedOtherwiseError` if all records are keyed otherwise than the settings say."""
        with suppress(WireError):
            self._wire.envelope(found.key, found.headers)

    async def _read_block(self, number: int) -> Mapping[int, Expected]:
        first = number * BLOCK
        notifications = await self._model.between(first, first + BLOCK - 1)
        block = dict(self._expected(notifications))
        for position in block:
            self.known.add(position)
        self._read.add(number)
        self._blocks[number] = block
        self._blocks.move_to_end(number)
        while len(self._blocks) > BLOCKS:
            self._blocks.popitem(last=False)
        return block

    def _expected(self, notifications: Sequence[Notification]) -> Iterator[tuple[int, Expected]]:
        for notification in notifications:
            record = self._wire.to_record(notification)
            yield notification.id, Expected.of(record, self._partitions)


class TopicAudit:
    """Goes through the records once, and takes note of what is wrong."""

    def __init__(
        self,
        application_name: str,
        expected_records: ExpectedRecords,
        partitions: int,
        findings: Findings,
    ) -> None:
        self.records = 0
        self._where = f"{application_name}.topic"
        self._expected = expected_records
        self._findings = findings
        self._seen = PositionSet()
        self._highest = [0] * partitions
        self._last: dict[int, str] = {}
        """The link of the last record of each partition."""
        self._before: dict[int, int] = {}
        """The position that the first record of each partition names as the one before it."""

    async def compare(
        self, read: PositionedRecord, following: PositionedRecord | None
    ) -> int | None:
        """Compare a record; return its position, or None if it is of no notification."""
        self.records += 1
        position, record = read
        expected = await self._expected.at(position) if position else None
        if not position or not expected:
            self._found(Fault.FOREIGN, read, "there is no notification of this position")
            return None
        same = expected.is_in(record)
        if not same and not expected.is_claimed_by(record):
            self._found(Fault.FOREIGN, read, "the notification of this position is another one")
            return None
        if record.partition != expected.partition:
            what = f"its aggregate belongs in partition {expected.partition}"
            self._found(Fault.MISPLACED, read, what, expected)
        elif position in self._seen:
            self._found(Fault.DOUBLED, read, "it is in the topic before", expected)
        else:
            self._seen.add(position)
            if self._is_in_order(read, expected, following):
                await self._check_link(read, expected)
        if not same:
            self._expected.check_kind_of_key(record)
            what = await self._differences(position, record)
            self._found(Fault.ALTERED, read, what, expected)
        return position

    def deleted(self, begins: Mapping[int, int], published: Published | None) -> Mapping[int, int]:
        """Return up to which position the beginnings of partitions are deleted, where they are.

        The first record names the last one that is; where there is none the position record does.
        """
        ends = published.ends if published else []
        said = {number: link.position for number, link in enumerate(ends)}
        return {
            number: self._before.get(number, said.get(number, 0))
            for number, begin in begins.items()
            if begin
        }

    async def find_missing(self, until: int, deleted: Mapping[int, int]) -> tuple[int, int]:
        """Find what is not in the topic up to a position, and not deleted from its beginning.

        Return how many should be there, and how many are deleted.
        """
        await self._expected.read_up_to(until)
        due, gone = 0, 0
        for position in self._expected.known:
            if position > until:
                break
            due += 1
            if position not in self._seen:
                if await self._is_deleted(position, deleted):
                    gone += 1
                else:
                    await self._missing(position)
        return due - gone, gone

    async def _is_deleted(self, position: int, deleted: Mapping[int, int]) -> bool:
        if position > max(deleted.values(), default=0):
            return False
        expected = await self._expected.at(position)
        return expected is not None and position <= deleted.get(expected.partition, 0)

    def _is_in_order(
        self, read: PositionedRecord, expected: Expected, following: PositionedRecord | None
    ) -> bool:
        position, record = read
        assert position is not None  # noqa: S101 - it is of a notification
        highest = self._highest[record.partition]
        if position < highest:
            what = f"it is behind position {highest}"
            self._found(Fault.MISORDERED, read, what, expected)
        elif following and highest < (following.position or 0) < position:
            # One record that is much too early does not make all that follow late.
            what = f"it is before position {following.position}"
            self._found(Fault.MISORDERED, read, what, expected)
        else:
            self._highest[record.partition] = position
            return True
        return False

    async def _check_link(self, read: PositionedRecord, expected: Expected) -> None:
        """See that a record in its order names the one before it as its predecessor.

        One that names a notification which should be in between, and is not, is right: that one is
        missing, or misordered.
        """
        position, record = read
        assert position is not None  # noqa: S101 - it is of a notification
        headers = dict(record.headers)
        named = headers.get("ce_predecessor", b"").decode(errors="replace")
        # What was before the first record that Kafka still has is not known.
        last = self._last.get(record.partition, named)
        if record.partition not in self._last:
            with suppress(ValueError):
                self._before[record.partition] = link_in(named).position
        if named != last and not await self._is_between(last, named, position):
            what = f"it names {_short(named.encode())} as the one before it, which is {last}"
            self._found(Fault.UNLINKED, read, what, expected)
        identity = headers.get("ce_identity", b"").decode(errors="replace")
        self._last[record.partition] = Link(position, identity).text

    async def _is_between(self, last: str, named: str, position: int) -> bool:
        try:
            lower, between = link_in(last).position, link_in(named).position
        except ValueError:
            return False
        return lower < between < position and await self._expected.at(between) is not None

    async def _differences(self, position: int, found: ConsumerRecord) -> str:
        if not self._findings.are_wanted:
            return ""
        return "; ".join(_differences(found, await self._expected.record(position)))

    async def _missing(self, position: int) -> None:
        expected = await self._expected.at(position) if self._findings.are_wanted else None
        self._findings.add(
            Finding(
                where=self._where,
                fault=Fault.MISSING,
                position=position,
                partition=expected and expected.partition,
                aggregate=expected and expected.key.decode(),
                type=expected and expected.type,
                what="it is not in its partition",
            )
        )

    def _found(
        self, fault: Fault, read: PositionedRecord, what: str, expected: Expected | None = None
    ) -> None:
        key = expected.key if expected else read.record.key
        self._findings.add(
            Finding(
                where=self._where,
                fault=fault,
                position=read.position,
                partition=read.record.partition,
                offset=read.record.offset,
                aggregate=key.decode(errors="backslashreplace") if key else None,
                type=expected.type if expected else None,
                what=what,
            )
        )


async def audit_topic(
    model: WriteModel,
    wire: WireFormat,
    settings: KafkaSettings,
    reader: TopicReader,
    tracking_audits: Sequence[TrackingAudit],
    findings: Findings,
    advance: Advance,
) -> TopicReport:
    """Compare the topic with the write model, up to where the relay says that it is.

    `tracking_audits` are told of every record of their partitions.
    """
    topics = Topics.of(wire.application_name, settings)
    published = await read_published(topics, settings)
    position = published.position if published else 0
    # What is published by now is before these offsets, and stored before that position.
    ends, head = await reader.ends(), await model.head()
    if position > head:
        what = f"the relay has published up to {position}, and the write model ends at {head}"
        where = f"{wire.application_name}.relay"
        findings.add(Finding(where=where, fault=Fault.POSITION, position=position, what=what))
    partitions = published.partitions if published else reader.partitions
    expected_records = ExpectedRecords(model, wire, partitions)
    topic_audit = TopicAudit(wire.application_name, expected_records, reader.partitions, findings)
    async with aclosing(reader.by_position(ends)) as records:
        async for read, following in records:
            of_notification = await topic_audit.compare(read, following)
            for tracking_audit in tracking_audits:
                tracking_audit.observe(read.record, of_notification)
            if of_notification and topic_audit.records % BLOCK == 0:
                advance(topics.events, min(of_notification, position), position)
    if topic_audit.records and not (published or await read_published(topics, settings)):
        what = f"there is no position record, and the topic has {topic_audit.records} records"
        where = f"{wire.application_name}.relay"
        findings.add(Finding(where=where, fault=Fault.POSITION, what=what))
    deleted = topic_audit.deleted(await reader.begins(), published)
    due, gone = await topic_audit.find_missing(min(position, head), deleted)
    for tracking_audit in tracking_audits:
        tracking_audit.conclude(ends, deleted, findings)
    advance(topics.events, position, position)
    return TopicReport(
        wire.application_name,
        topics.events,
        due,
        topic_audit.records,
        position,
        max(0, head - position),
        gone,
    )


def _digest(key: object, value: object, headers: object, timestamp: int | None) -> bytes:
    whole = msgspec.msgpack.encode((key, value, headers, timestamp))
    return blake2b(whole, digest_size=16).digest()


def _headers(found: ConsumerRecord) -> list[tuple[str, bytes]]:
    """Return what the headers say of the event; not how it was traced, nor what is before it."""
    return [header for header in found.headers if header[0] not in NOT_OF_THE_EVENT]


def _differences(found: ConsumerRecord, expected: Record) -> Iterator[str]:
    """Say in which parts a record differs."""
    if found.key != expected.key:
        yield f"key is {_short(found.key)}, not {_short(expected.key)}"
    if found.value != expected.value:
        value = found.value or b""
        start = max(0, _first_difference(value, expected.value) - LONGEST_VALUE // 2)
        yield (
            f"value from byte {start} is {_short(value[start:])}, "
            f"not {_short(expected.value[start:])}"
        )
    if _headers(found) != expected.headers:
        yield from _differing_headers(_headers(found), expected.headers)
    if expected.timestamp_ms not in (None, found.timestamp):
        yield f"timestamp is {found.timestamp}, not {expected.timestamp_ms}"


def _differing_headers(
    found: list[tuple[str, bytes]], expected: list[tuple[str, bytes]]
) -> Iterator[str]:
    for name, value in expected:
        values = [other for known, other in found if known == name]
        if values != [value]:
            shown = " and ".join(map(_short, values)) or "not there"
            yield f"header {name} is {shown}, not {_short(value)}"
    names = {name for name, _ in expected}
    yield from (f"header {name} is there" for name, _ in found if name not in names)
    if sorted(found) == sorted(expected):
        yield "headers are in another order"


def _first_difference(one: bytes, other: bytes) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _short(value: bytes | None) -> str:
    if value is None:
        return "nothing"
    text = value.decode(errors="backslashreplace")
    return repr(text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…")
