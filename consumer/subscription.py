"""The partitions that this consumer owns, and the batches of events in them.

Where to read from is never Kafka's answer: after every assignment the tracking is read, and the
consumer seeks to it. Kafka's committed offsets are a mirror, for Kafka's own tools.
"""

from __future__ import annotations

import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import NamedTuple, Self

import anyio
from aiokafka import (
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    OffsetAndMetadata,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from consumer.tracking import Tracking
from consumer.unit_of_work import Event
from producer.wire import Envelope, EventTypes, KafkaSettings, Topics, WireError, WireFormat
from producer.wire.kafka import started
from producer.wire.terminal import OperatorError

logger = logging.getLogger(__name__)

POLL_MS = 500
MIRROR_SECONDS = 1.0
METADATA = "position="
"""What the metadata of our own commits begins with."""

MAX_POLL_INTERVAL_MS = 30 * 60 * 1000
"""A group member that is silent for longer is put out. The guard makes that harmless."""

IDLE_CHECK_SECONDS = 30.0
"""With nothing to read for so long, the true ends of the partitions are asked for."""

Place = Callable[[Collection[int], Mapping[int, int]], Awaitable[Mapping[int, Tracking]]]
"""Given new partitions, and the offsets an operator set some of them to, says where to read."""


class StuckError(TimeoutError):
    """The client brings nothing though there is something: it is to be started again."""


class RecordsDeletedError(OperatorError):
    """Kafka has deleted records that the view has not applied yet."""


class Item(NamedTuple):
    """One record, and what it means for the view."""

    record: ConsumerRecord
    envelope: Envelope | None
    """None if the headers can't be read."""
    event: Event | None
    """None if the view does not ask for this type, or the record can't be read."""
    error: WireError | None

    @classmethod
    def of(cls, record: ConsumerRecord, wire: WireFormat, wanted: EventTypes) -> Self:
        """Read a record as far as the view needs it: often its headers are enough."""
        envelope = event = error = None
        try:
            envelope = wire.envelope(record.key, record.headers)
            if envelope.type in wanted or envelope.type not in wire.types:
                event = wire.to_event(envelope, record.value)
        except WireError as reason:
            error = reason
        return cls(record, envelope, event, error)

    @property
    def originator_id(self) -> str:
        """The aggregate that the record belongs to, as far as can be told: at least its key."""
        key = (self.record.key or b"").decode(errors="backslashreplace")
        return (self.envelope.originator_id if self.envelope else key).replace("\0", "\\0")


class Span(NamedTuple):
    """Consecutive records of one partition. A batch is spans of several partitions."""

    partition: int
    start: int
    """The offset that the previous span ended with."""
    end: int
    """The offset to go on from."""
    items: Sequence[Item]

    def follows(self, seen: Mapping[int, Tracking]) -> bool:
        """Tell whether this is what comes next: not so after a seek, or when the owner changed."""
        tracking = seen.get(self.partition)
        return tracking is not None and tracking.offset == self.start

    def moved(self, seen: Tracking) -> Tracking:
        """Return the tracking of the partition after this span."""
        # What can't be read may lie about its position.
        positions = (
            item.envelope.position for item in self.items if item.envelope and not item.error
        )
        return Tracking(self.partition, max([seen.position, *positions]), self.end)


class Subscription(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads one application's topic as a member of a view's group.

    `seen` is the tracking of each partition as this consumer saw it last.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        group: str,
        topic: str,
        wire: WireFormat,
        wanted: EventTypes,
        place: Place,
        settings: KafkaSettings,
        limit: int,
    ) -> None:
        self.seen: dict[int, Tracking] = {}
        self._consumer = consumer
        self._group = group
        self._topic = topic
        self._wire = wire
        self._wanted = wanted
        self._place = place
        self._settings = settings
        self._limit = limit
        self._unplaced: set[int] = set()
        self._fetched: dict[int, int] = {}
        self._mirrored: dict[int, Tracking] = {}

    @classmethod
    @asynccontextmanager
    async def joined(
        cls,
        group: str,
        wire: WireFormat,
        wanted: EventTypes,
        place: Place,
        settings: KafkaSettings,
        *,
        limit: int,
        instance: str | None = None,
    ) -> AsyncIterator[Self]:
        """Join a view's group, and leave it at the end.

        A static member, with an `instance` of its own, keeps its partitions over a restart.
        """
        consumer = AIOKafkaConsumer(
            **settings.client(),
            group_id=group,
            group_instance_id=instance,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.session_timeout_ms // 3,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
        )
        topic = Topics.of(wire.application_name, settings).events
        subscription = cls(consumer, group, topic, wire, wanted, place, settings, limit)
        async with started(consumer):
            consumer.subscribe([topic], listener=subscription)
            async with anyio.create_task_group() as mirroring:
                mirroring.start_soon(subscription._mirror_for_ever)
                try:
                    yield subscription
                finally:
                    mirroring.cancel_scope.cancel()
                    with anyio.CancelScope(shield=True):
                        await subscription._mirror()

    async def batches(self) -> AsyncGenerator[Sequence[Span], None]:
        """Yield what comes, decoded; an empty batch when nothing does.

        A span without items tells of offsets without records. Raises `StuckError`.
        """
        idle_since = anyio.current_time()
        while True:
            if self._unplaced:
                await self._place_new_partitions()
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=self._limit)
            spans = [
                self._span(partition.partition, records)
                for partition, records in fetched.items()
                if partition.partition not in self._unplaced
            ]
            if spans:
                idle_since = anyio.current_time()
            elif anyio.current_time() - idle_since > IDLE_CHECK_SECONDS:
                await self._check_nothing_is_left()
                idle_since = anyio.current_time()
            yield spans or [span async for span in self._offsets_without_records()]

    def advance(self, trackings: Iterable[Tracking]) -> None:
        """Take note of what is applied."""
        self.seen.update({tracking.partition: tracking for tracking in trackings})

    def stop(self, partition: int) -> None:
        """Read no more of a partition, until it is sought, or assigned anew."""
        self._consumer.pause(self._partition(partition))

    def seek(self, trackings: Iterable[Tracking]) -> None:
        """Go on from where the tracking is; what is fetched already from elsewhere is void."""
        for tracking in trackings:
            try:
                self._consumer.seek(self._partition(tracking.partition), tracking.offset)
            except IllegalStateError:  # It has gone to another member meanwhile.
                continue
            self._consumer.resume(self._partition(tracking.partition))
            self._fetched[tracking.partition] = tracking.offset
            self.seen[tracking.partition] = tracking

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Forget partitions; a batch of theirs that is in hand is judged by the guard."""
        for partition in revoked:
            self.seen.pop(partition.partition, None)
            self._fetched.pop(partition.partition, None)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Take note only: the tracking may have to be waited for, and aiokafka does not wait."""
        self._unplaced = {partition.partition for partition in assigned}

    async def _place_new_partitions(self) -> None:
        """Seek every new partition to its tracking."""
        unplaced = set(self._unplaced)
        trackings = await self._place(unplaced, await self._offsets_set_by_operator(unplaced))
        await self._check_nothing_is_deleted(trackings.values())
        if unplaced == self._unplaced:  # No further rebalance meanwhile.
            self._unplaced = set()
            self._mirrored = {}
            self.seek(trackings.values())
            logger.info("reading %s, partitions %s", self._topic, sorted(unplaced))

    async def _offsets_set_by_operator(self, partitions: Collection[int]) -> dict[int, int]:
        """Return the group's offsets that are not our own: Kafka's tool clears the metadata."""
        async with started(AIOKafkaAdminClient(**self._settings.client())) as admin:
            committed = await admin.list_consumer_group_offsets(
                self._group, partitions=[self._partition(number) for number in partitions]
            )
        return {
            partition.partition: offset
            for partition, (offset, metadata) in committed.items()
            if offset >= 0 and not metadata.startswith(METADATA)
        }

    async def _check_nothing_is_left(self) -> None:
        partitions = {self._partition(number): at for number, at in self._fetched.items()}
        ends = await self._consumer.end_offsets(list(partitions))
        for partition, end in ends.items():
            stuck = partition not in self._consumer.paused() and end > partitions[partition]
            if stuck and self._fetched.get(partition.partition) == partitions[partition]:
                raise StuckError(f"Nothing comes of {partition}, which goes on until {end}.")

    async def _check_nothing_is_deleted(self, trackings: Iterable[Tracking]) -> None:
        offsets = {self._partition(tracking.partition): tracking.offset for tracking in trackings}
        for partition, begin in (await self._consumer.beginning_offsets(list(offsets))).items():
            if begin > offsets[partition]:
                raise RecordsDeletedError(
                    f"{partition.topic}, partition {partition.partition}: the view has applied the "
                    f"records before offset {offsets[partition]}, and Kafka has deleted those "
                    f"before {begin}. Set the topic's retention to unlimited; what is deleted "
                    "can only be published again to a new topic."
                )

    def _span(self, partition: int, records: Sequence[ConsumerRecord]) -> Span:
        start, end = self._fetched[partition], records[-1].offset + 1
        self._fetched[partition] = end
        items = [Item.of(record, self._wire, self._wanted) for record in records]
        return Span(partition, start, end, items)

    async def _offsets_without_records(self) -> AsyncIterator[Span]:
        """Yield the offsets that transaction markers take, once the records are all read."""
        for partition, start in list(self._fetched.items()):
            try:
                end = await self._consumer.position(self._partition(partition))
            except IllegalStateError:
                continue
            if end > start:
                self._fetched[partition] = end
                yield Span(partition, start, end, ())

    async def _mirror_for_ever(self) -> None:
        while True:
            await anyio.sleep(MIRROR_SECONDS)
            await self._mirror()

    async def _mirror(self) -> None:
        """Commit to the group what the view has applied, with metadata of our own."""
        news = {
            partition: tracking
            for partition, tracking in self.seen.items()
            if self._mirrored.get(partition) != tracking
        }
        if not news:
            return
        try:
            await self._consumer.commit(
                {
                    self._partition(partition): OffsetAndMetadata(
                        tracking.offset, f"{METADATA}{tracking.position}"
                    )
                    for partition, tracking in news.items()
                }
            )
        except (CommitFailedError, IllegalStateError, KafkaError) as error:
            logger.debug("offsets are not mirrored: %s", error)
        else:
            self._mirrored.update(news)

    def _partition(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)
