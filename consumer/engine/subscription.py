"""The partitions that this consumer owns, and the batches of events in them.

Where to read from is never Kafka's answer: after every assignment the tracking is read, and the
consumer seeks to it. Whether that is the right place, the chain tells. Kafka's committed offsets
are a mirror, for Kafka's own tools.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, Self

import anyio
import anyio.lowlevel
from aiokafka import (
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    OffsetAndMetadata,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    InvalidSessionTimeoutError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from eventsourcing_kafka.consumer.engine.batch import (
    ConsumedRecord,
    OffsetReset,
    ResetKind,
    Span,
)
from eventsourcing_kafka.consumer.engine.logs import ViewLog
from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.producer.kafka.clients import CLOSE_SECONDS, started
from eventsourcing_kafka.producer.kafka.compat import rejoin
from eventsourcing_kafka.producer.kafka.groups import owners_of
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.retry import SessionLostError
from eventsourcing_kafka.producer.wire import EventTypes, WireFormat

logger = logging.getLogger(__name__)

POLL_MS = 500
MIRROR_SECONDS = 1.0
SHARING_MS = 5000
"""So long it may take until partitions are shared, once all have joined."""
HEARTBEAT_MS = 1000
"""So often a member hears whether others have joined or left."""

EARLIEST, LATEST = -2, -1
"""Kafka's protocol names a partition's beginning and its end so: some clients commit that."""

METADATA = "position="
"""What the metadata of our own commits begins with. Kafka's tool leaves none."""

METADATA_MS = 10_000
"""Kafka's clients would wait for 5 minutes."""

MAX_POLL_INTERVAL_MS = 30 * 60 * 1000
"""A group member that is silent for longer is put out. The guard makes that harmless."""

AT_ONCE = 250
"""Records that are fetched, and then decoded while they are still in the processor's caches. After
them it is the others' turn: Postgres is to have its next statement, and not to wait for a batch."""

GONE_SECONDS = 2.0
"""A topic of which a client knows nothing for so long has been deleted."""

CHECK_SECONDS = 30.0
"""So often each partition must have come on, unless it was at its true end."""


@dataclass(frozen=True)
class Pacing:
    """How a subscription asks Kafka, and how it looks whether that answers."""

    poll_ms: int = POLL_MS
    """So long one fetch waits for records."""
    at_once: int = AT_ONCE
    """Records that are fetched and decoded before it is the others' turn."""
    check_seconds: float = CHECK_SECONDS
    """So often each partition must have come on, unless it was at its true end, and somebody must
    have partitions."""
    metadata_ms: int = METADATA_MS
    """So soon a member hears that its topic was deleted, or made anew."""


PACING = Pacing()


class TrackingReader(Protocol):
    """Reads from where partitions are to be read."""

    async def read(self, partitions: Collection[int]) -> Mapping[int, Tracking]:
        """Return the tracking of partitions."""

    async def apply(self, reset: OffsetReset) -> None:
        """Do what an operator means by a reset. It does no harm to do so again."""


class StuckError(SessionLostError):
    """The client brings nothing though there is something: it is to be started again."""


class Subscription(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads one application's topic, of so many `partitions`, as a member of a view's group.

    `seen` is the tracking of each partition as this consumer saw it last. `moved` is set, and
    replaced by another event, when something is applied, or a partition is placed.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        group: str,
        topic: str,
        partitions: int,
        wire: WireFormat,
        wanted: EventTypes,
        tracking: TrackingReader,
        settings: KafkaSettings,
        limit: int,
        pacing: Pacing,
        name: str = "",
    ) -> None:
        self._log = ViewLog(logger, name or group)
        self.seen: dict[int, Tracking] = {}
        self.moved = anyio.Event()
        self._consumer = consumer
        self._group = group
        self._topic = topic
        self._partitions = partitions
        self._wire = wire
        self._wanted = wanted
        self._tracking = tracking
        self._settings = settings
        self._limit = limit
        self._pacing = pacing
        self._unplaced: set[int] = set()
        self._fetched: dict[int, int] = {}
        self._mirrored: dict[int, Tracking] = {}
        self._behind: dict[TopicPartition, int] = {}
        self._batches_since_check = 0
        self._without_any_since: float | None = None
        self._broken: set[int] = set()
        self._needs_a_look = anyio.Event()
        self._placed = anyio.Event()

    @classmethod
    @asynccontextmanager
    async def joined(
        cls,
        group: str,
        wire: WireFormat,
        wanted: EventTypes,
        tracking: TrackingReader,
        settings: KafkaSettings,
        *,
        partitions: int,
        limit: int,
        instance: str | None = None,
        pacing: Pacing = PACING,
        name: str = "",
    ) -> AsyncIterator[Self]:
        """Join a view's group, and leave it at the end. Logs name the view, if it is given.

        A static member, with an `instance` of its own, keeps its partitions over a restart.
        """
        # Who joins is answered once all have, or have been missed.
        patience = max(settings.request_timeout_ms, settings.session_timeout_ms + SHARING_MS)
        consumer = AIOKafkaConsumer(
            **settings.client() | {"request_timeout_ms": patience},
            client_id=f"{socket.gethostname()}-{os.getpid()}",  # Tells people whose it is.
            group_id=group,
            group_instance_id=instance,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=min(HEARTBEAT_MS, settings.session_timeout_ms // 3),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",  # Nobody but us says where to read.
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            metadata_max_age_ms=pacing.metadata_ms,
        )
        topic = Topics.of(wire.application_name, settings).events
        subscription = cls(
            consumer,
            group,
            topic,
            partitions,
            wire,
            wanted,
            tracking,
            settings,
            limit,
            pacing,
            name,
        )
        async with started(consumer):
            consumer.subscribe([topic], listener=subscription)
            async with anyio.create_task_group() as mirroring:
                mirroring.start_soon(subscription._mirror_for_ever)
                try:
                    yield subscription
                finally:
                    mirroring.cancel_scope.cancel()
                    with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                        await subscription._mirror()

    async def batches(self) -> AsyncGenerator[Sequence[Span], None]:
        """Yield what comes, decoded; an empty batch when nothing does.

        A span without records tells of offsets without records. Raises `StuckError`.
        """
        checked_at = looked_at = anyio.current_time()
        while True:
            self._check_topic_is_there()
            if self._unplaced:
                await self._place_new_partitions()
            spans = await self._read()
            self._batches_since_check += 1
            if anyio.current_time() - checked_at > self._pacing.check_seconds:
                await self._check_all_come_on()
                await self._check_somebody_reads()
                checked_at = anyio.current_time()
            # Each partition is asked, so not for every batch: only the mirror waits for markers.
            markers = []
            if not spans or anyio.current_time() - looked_at > MIRROR_SECONDS:
                markers = [span async for span in self._offsets_without_records(spans)]
                looked_at = anyio.current_time()
            yield [*spans.values(), *markers]

    async def _read(self) -> Mapping[int, Span]:
        """Wait for records, and decode those that have come, up to the limit."""
        spans: dict[int, Span] = {}
        left = self._limit
        while True:
            most = min(left, self._pacing.at_once)
            fetched = await self._fetch(0 if spans else self._pacing.poll_ms, most)
            for partition, records in fetched.items():
                if span := await self._span(partition, records):
                    spans[span.partition] = span.following(spans.get(span.partition))
            came = sum(map(len, fetched.values()))
            left -= came
            if came < most or left == 0:
                return spans
            await anyio.lowlevel.checkpoint()

    async def _fetch(
        self, timeout_ms: int, most: int
    ) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        try:
            fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]
            fetched = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=most)
        except NoOffsetForPartitionError:  # It is not placed yet.
            return {}
        except InvalidSessionTimeoutError as error:
            raise SettingsError(
                f"Kafka takes no KAFKA_SESSION_TIMEOUT_MS={self._settings.session_timeout_ms}: its "
                "brokers' group.min.session.timeout.ms and group.max.session.timeout.ms, 6000 and "
                "1800000 if nobody has set them, say what it takes"
            ) from error
        except OffsetOutOfRangeError as error:
            if not self._unplaced:  # It is ours, and not the group's.
                self._note_out_of_range(error.args[0])
            return {}
        return fetched

    def _note_out_of_range(self, offsets: Mapping[TopicPartition, int]) -> None:
        for partition, offset in offsets.items():
            if self._fetched.get(partition.partition) == offset:
                self.break_off(partition.partition)

    def advance(self, seen: Mapping[int, Tracking], trackings: Iterable[Tracking]) -> None:
        """Take note of what is applied after what was `seen`.

        Of a partition that went to another member, or was placed anew meanwhile, other things
        are seen by now.
        """
        for tracking in trackings:
            if self.seen.get(tracking.partition) == seen[tracking.partition]:
                self.seen[tracking.partition] = tracking
        self._note_moved()

    def _note_moved(self) -> None:
        self.moved.set()
        self.moved = anyio.Event()

    async def placed(self) -> None:
        """Wait until it has its partitions, which may be none, and reads from where they are."""
        await self._placed.wait()

    def stop(self, partition: int) -> None:
        """Read no more of a partition, until it is sought, or assigned anew."""
        with suppress(IllegalStateError):  # It has gone to another member meanwhile.
            self._consumer.pause(self._partition(partition))

    def break_off(self, partition: int) -> None:
        """Read no more of a partition that does not go on, until it is looked at."""
        self.stop(partition)
        self._broken.add(partition)
        self._needs_a_look.set()

    async def needs_a_look(self) -> None:
        """Wait until a partition does not go on, or is placed."""
        await self._needs_a_look.wait()
        self._needs_a_look = anyio.Event()

    def take_broken(self) -> Collection[int]:
        """Return the partitions that do not go on, each once."""
        broken, self._broken = self._broken, set()
        return broken

    def seek(self, trackings: Iterable[Tracking]) -> None:
        """Go on from where the tracking is; what is fetched already from elsewhere is void.

        What is revoked, and perhaps about to be assigned anew, is placed when it is. What goes on
        from the write model is not read of Kafka, and is to be looked at.
        """
        self._seek(tracking for tracking in trackings if tracking.partition in self._fetched)

    def looked_at(self, partition: int) -> None:
        """Take note that it is known how a partition goes on."""
        self._broken.discard(partition)

    def _seek(self, trackings: Iterable[Tracking]) -> None:
        for tracking in trackings:
            partition = self._partition(tracking.partition)
            try:
                if tracking.is_in_write_model:
                    self._consumer.pause(partition)
                else:
                    self._consumer.seek(partition, tracking.offset)
                    self._consumer.resume(partition)
            except IllegalStateError:  # It has gone to another member meanwhile.
                continue
            self._fetched[tracking.partition] = tracking.offset
            self.seen[tracking.partition] = tracking
            if tracking.is_in_write_model:
                self._broken.add(tracking.partition)
                self._needs_a_look.set()
        self._note_moved()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Forget partitions; a batch of theirs that is being applied is judged by the guard."""
        for partition in revoked:
            self._broken.discard(partition.partition)
            self.seen.pop(partition.partition, None)
            self._fetched.pop(partition.partition, None)
            self._unplaced.discard(partition.partition)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Take note only: the tracking may have to be waited for, and aiokafka does not wait."""
        self._unplaced = {partition.partition for partition in assigned}
        self._without_any_since = None if assigned else anyio.current_time()
        if not assigned and self._consumer.partitions_for_topic(self._topic):
            self._placed.set()  # There are others enough.

    async def _place_new_partitions(self) -> None:
        """Seek every new partition to its tracking, once operators' resets are applied."""
        unplaced = set(self._unplaced)
        if max(unplaced) >= self._partitions:
            raise StuckError(f"{self._topic} has more partitions than {self._partitions} now.")
        for reset in await self._resets(await self._tracking.read(unplaced)):
            # What it means is written down before it is done. When it is done, and we are killed
            # before the next commit, the same offset would seem to mean something else.
            noted = OffsetAndMetadata(reset.offset, reset.kind.value)
            try:
                await self._consumer.commit({self._partition(reset.partition): noted})
            except (CommitFailedError, IllegalStateError):
                return  # It has gone to another member meanwhile.
            await self._tracking.apply(reset)
        trackings = await self._tracking.read(unplaced)
        if unplaced == self._unplaced:  # No further rebalance meanwhile.
            self._unplaced = set()
            self._mirrored = {}
            self._seek(trackings.values())
            self._needs_a_look.set()
            self._placed.set()
            await self._mirror()
            self._log.info("reading %s, partitions %s", self._topic, sorted(unplaced))

    async def _resets(self, trackings: Mapping[int, Tracking]) -> list[OffsetReset]:
        """Return what operators have reset the group's offsets of partitions to."""
        async with started(AIOKafkaAdminClient(**self._settings.client())) as admin:
            found = await admin.list_consumer_group_offsets(self._group)
        ours = [self._partition(number) for number in trackings]
        # Only what is committed is there, so a negative offset is somebody's, too.
        committed = {partition: found[partition] for partition in ours if partition in found}
        ends = await self._consumer.end_offsets(list(committed))
        begins = await self._consumer.beginning_offsets(list(committed))
        resets = []
        for partition, (given, metadata) in committed.items():
            if metadata.startswith(METADATA):
                continue
            tracking = trackings[partition.partition]
            # What Kafka has, to its beginning, comes after all that the write model is read for.
            at = begins[partition] + 1 if tracking.is_in_write_model else tracking.offset
            offset = {EARLIEST: 0, LATEST: ends[partition]}.get(given, given)
            if metadata in set(ResetKind):
                kind = ResetKind(metadata)
            elif begins[partition] == ends[partition] == offset > 0:
                # The beginning is the end, so neither is meant: a replay of nothing would be one.
                self._log.error(
                    "partition %d: its group is set to offset %d, and all of the partition is "
                    "deleted: that tells no replay from a skip, and is left. To apply again what "
                    "was applied: eventsourcing-kafka consumer replay",
                    partition.partition,
                    offset,
                )
                continue
            else:
                kind = ResetKind.REPLAY if offset < at else ResetKind.SKIP
            resets.append(OffsetReset(partition.partition, offset, kind))
        return resets

    def _check_topic_is_there(self) -> None:
        """Raise `StuckError` if it was deleted: aiokafka would ask for it again in some minutes.

        A client that has joined before it was told of the topic has no partitions for a moment.
        """
        since = self._without_any_since
        if since is None or anyio.current_time() - since < GONE_SECONDS:
            return
        if not self._consumer.partitions_for_topic(self._topic):
            raise StuckError(f"Kafka has no topic {self._topic} any more.")

    async def _check_all_come_on(self) -> None:
        """Raise `StuckError` if a partition stands where it stood, short of its end, a check ago.

        That is fair to say only when the client had the time to bring something of each.
        """
        if self._batches_since_check <= 2 * len(self.seen):
            return
        at = {self._partition(number): seen.offset for number, seen in self.seen.items()}
        for partition, offset in at.items():
            if self._behind.get(partition) == offset and partition not in self._consumer.paused():
                raise StuckError(f"Nothing comes of {partition} after offset {offset}.")
        ends = await self._consumer.end_offsets(list(at))
        self._behind = {
            partition: at[partition] for partition in at if ends[partition] > at[partition]
        }
        self._batches_since_check = 0

    async def _check_somebody_reads(self) -> None:
        """Have the group share its partitions again if we have none of them, and nobody else has.

        Who leads a group watches for its topic. A static member that comes back is not told that
        it does (KIP-814): then nobody watches for a topic that was not there when it was shared.
        """
        if self._without_any_since is None or not self._consumer.partitions_for_topic(self._topic):
            return
        if not await owners_of(self._group, self._settings):
            self._log.warning("nobody has a partition of %s: sharing them again", self._topic)
            rejoin(self._consumer)

    async def _span(
        self, partition: TopicPartition, records: Sequence[ConsumerRecord]
    ) -> Span | None:
        start, end = self._fetched.get(partition.partition), records[-1].offset + 1
        if start is None or start < 0 or partition.partition in self._unplaced:
            return None  # What comes between an assignment and its placing is from anywhere.
        # The transaction's marker, which came with them, is passed with them. This does not wait:
        # of what records were just fetched, and of nobody else's, there is a position.
        with suppress(IllegalStateError), anyio.move_on_after(0):
            end = max(end, await self._consumer.position(partition))
        if self._fetched.get(partition.partition) != start or partition.partition in self._unplaced:
            return None  # It was assigned anew after all.
        self._fetched[partition.partition] = end
        consumed = [
            ConsumedRecord.of(record, self._wire, self._wanted, self._partitions)
            for record in records
        ]
        return Span(partition.partition, start, end, consumed)

    async def _offsets_without_records(self, brought: Collection[int]) -> AsyncIterator[Span]:
        """Yield the offsets that transaction markers take, of those that `brought` no records."""
        for partition, start in list(self._fetched.items()):
            if partition in brought or partition in self._unplaced or start < 0:
                continue
            end = start
            with suppress(IllegalStateError), anyio.move_on_after(self._pacing.poll_ms / 1000):
                end = await self._consumer.position(self._partition(partition))
            # If it was assigned anew while we waited, that is the group's offset. The tracking
            # may be behind that, and what lies between would be passed over.
            ours = self._fetched.get(partition) == start and partition not in self._unplaced
            if ours and end > start:
                self._fetched[partition] = end
                yield Span(partition, start, end, ())

    async def _mirror_for_ever(self) -> None:
        while True:
            await anyio.sleep(MIRROR_SECONDS)
            # A commit that is cancelled goes on inside aiokafka, and nobody takes its error.
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
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
                        max(0, tracking.offset), f"{METADATA}{tracking.position}"
                    )
                    for partition, tracking in news.items()
                }
            )
        except (CommitFailedError, IllegalStateError, KafkaError) as error:
            self._log.debug("offsets are not mirrored: %s", error)
        else:
            self._mirrored.update(news)

    def _partition(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)
