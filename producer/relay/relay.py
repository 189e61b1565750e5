"""The relay's loop."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
from eventsourcing.persistence import Notification

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.outbox import Outbox
from eventsourcing_kafka.producer.relay.linger import Linger
from eventsourcing_kafka.producer.relay.metrics import RelayMetrics
from eventsourcing_kafka.producer.relay.publisher import TRANSACTION_TIMEOUT_MS, Batch, Publisher
from eventsourcing_kafka.producer.runtime.drain import draining
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.prefetch import prefetching
from eventsourcing_kafka.producer.runtime.retry import LoopHealth, retrying
from eventsourcing_kafka.producer.wire import WireFormat
from eventsourcing_kafka.producer.wire.tracing import TraceHeaders, sending, traces_of

logger = logging.getLogger(__name__)


class PositionAheadError(OperatorError):
    """More is published than the write model has: its database is older than the topic."""


class Relay:
    """Publishes the notifications of one application to Kafka, each once and in order.

    `grace` is how many seconds a batch in hand has to finish when the relay is told to stop;
    a batch that takes longer than `stuck` seconds means that the client is: it is started again.
    That must be sooner than the broker would abort its transaction: the relay would take it for
    the work of another one, and end.
    """

    def __init__(
        self,
        outbox: Outbox,
        wire: WireFormat,
        settings: KafkaSettings,
        *,
        grace: float = 10.0,
        stuck: float = TRANSACTION_TIMEOUT_MS / 1000 * 2 / 3,
    ) -> None:
        self.position = 0
        """Up to where this relay has published, or found published."""
        self.publishing = False
        """Whether it has its turn; until then another relay publishes."""
        self.health = LoopHealth()
        self._outbox = outbox
        self._wire = wire
        self._settings = settings
        self._grace = grace
        self._stuck = stuck
        self._metrics = RelayMetrics(wire.application_name)

    async def run(self) -> None:
        """Publish for ever; lost servers are waited out.

        Raises `PositionAheadError`, `TopicUnfitError`, `UnfitOutboxError`, `WireError` or
        aiokafka's `ProducerFenced`, in an exception group: what only a person can settle.
        """
        name = f"relay of {self._wire.application_name}"
        await retrying(name, self._publish_what_comes, self.health)

    async def _publish_what_comes(self, progressed: Callable[[], None]) -> None:
        name = self._wire.application_name
        topic = Topics.of(name, self._settings).events
        async with self._turn(), Publisher.connected(name, self._settings) as publisher:
            position = self.position = await self._position(publisher)
            logger.info("publishing after position %d", position)
            progressed()
            linger = Linger(self._outbox.limit)
            async with (
                prefetching(self._outbox.batches(position)) as read,
                prefetching(self._made_up(publisher, linger.batches(read))) as batches,
                draining(self._grace) as in_flight,
            ):
                async for batch, traces in batches:
                    began = anyio.current_time()
                    async with in_flight():
                        with (
                            anyio.fail_after(self._stuck),
                            sending(topic, traces),
                            self._metrics.batch(batch.size),
                        ):
                            await publisher.publish(batch)
                    self.position = batch.position
                    linger.published(batch.position, anyio.current_time() - began)
                    progressed()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._outbox.turn():
            self.publishing = True
            try:
                yield
            finally:
                self.publishing = False

    async def _position(self, publisher: Publisher) -> int:
        position, head = await publisher.position(), await self._outbox.head()
        if position > head:
            raise PositionAheadError(
                f"Kafka has the events of {self._wire.application_name} up to position {position}, "
                f"and its database only up to {head}. It was restored from a backup, or it is "
                "another one. New events would get positions that are published already. "
                "Restore a newer backup, or publish to new topics: set another KAFKA_TOPIC_PREFIX."
            )
        return position

    async def _made_up(
        self, publisher: Publisher, read: AsyncIterator[Sequence[Notification]]
    ) -> AsyncGenerator[tuple[Batch, Sequence[TraceHeaders]], None]:
        async for notifications in read:
            records = map(self._wire.to_record, notifications)
            batch = await publisher.batch(records, notifications[-1].id)
            yield batch, traces_of(notifications)
