"""The relay's loop: read, gather, encode and publish, each a stage that runs ahead of the next."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from uuid import uuid4

import anyio
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)
from eventsourcing.persistence import Notification

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.outbox import Outbox
from eventsourcing_kafka.producer.relay.linger import Linger
from eventsourcing_kafka.producer.relay.metrics import RelayMetrics
from eventsourcing_kafka.producer.relay.publisher import (
    TRANSACTION_TIMEOUT_MS,
    Batch,
    Publisher,
    transactional_id,
)
from eventsourcing_kafka.producer.relay.resume import check_write_model, position_to_go_on
from eventsourcing_kafka.producer.runtime.drain import draining
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.prefetch import prefetching
from eventsourcing_kafka.producer.runtime.retry import (
    LONGEST_PAUSE,
    LoopHealth,
    SessionLostError,
    first_error,
    retrying,
)
from eventsourcing_kafka.producer.wire import WireFormat
from eventsourcing_kafka.producer.wire.position import Published, read_published
from eventsourcing_kafka.producer.wire.tracing import TraceHeaders, sending, traces_of

logger = logging.getLogger(__name__)


CHECK_SECONDS = 10.0
"""So often it is looked whether Kafka still has the last records."""

REPLACED_OFTEN = 5
REPLACED_SECONDS = 60.0
"""Who loses the epoch so often in so short a time shares its transactional ID with another."""

EPOCH_LOST = (
    ProducerFenced,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
)
"""What Kafka says to who goes on in an epoch that has ended: another relay has begun, the
coordinator's patience has, or a late request of our own has arrived."""


class ReplacedError(OperatorError):
    """Another relay of the application publishes."""


class EpochLostError(SessionLostError):
    """The session's epoch has ended, and no other relay has taken over: a new one begins."""


class Relay:
    """Publishes the notifications of one application to Kafka, each once and in order.

    When it is told to stop, the transaction that is under way has `grace` seconds to end. One that
    takes longer than `stuck` seconds means that the client is stuck: a new session begins. That
    must be sooner than the broker would abort the transaction. `longest_pause` bounds the seconds
    between two attempts to reach a server. Every `check` seconds it looks whether Kafka still has
    what it has acknowledged.
    """

    def __init__(
        self,
        outbox: Outbox,
        wire: WireFormat,
        settings: KafkaSettings,
        *,
        grace: float = 10.0,
        stuck: float = TRANSACTION_TIMEOUT_MS / 1000 * 2 / 3,
        check: float = CHECK_SECONDS,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self.position = 0
        """Up to here all notifications are published, as far as this relay knows."""
        self.publishing = False
        """Whether it has the turn; until then another relay publishes."""
        self.health = LoopHealth()
        self._outbox = outbox
        self._wire = wire
        self._settings = settings
        self._grace = grace
        self._stuck = stuck
        self._check = check
        self._longest_pause = longest_pause
        self._instance = uuid4().hex
        self._began_with: list[Published | None] = []
        """The last position record as a session has found it; nothing before the first has."""
        self._epochs_lost: deque[float] = deque(maxlen=REPLACED_OFTEN)
        self._metrics = RelayMetrics(wire.application_name)

    async def run(self) -> None:
        """Publish for ever; lost servers are waited out.

        Raises `OtherWriteModelError`, `TopicUnfitError`, `UnfitOutboxError`, `WireError` or
        `ReplacedError`, in an exception group: what only a person can settle.
        """
        name = f"relay of {self._wire.application_name}"
        await retrying(name, self._session, self.health, longest_pause=self._longest_pause)

    async def _session(self, progressed: Callable[[], None]) -> None:
        """Publish until an error ends this session. What has lost its epoch may go on in another.

        The error does not tell whether another relay has taken over; the last position record does.
        """
        try:
            await self._publish_what_comes(progressed)
        except Exception as error:
            refusal = _refusal_of_epoch(first_error(error))
            if refusal is None:
                raise
            await self._check_not_replaced()
            raise EpochLostError(
                f"Kafka has ended the epoch: {refusal!r}. If that goes on, {self._namesake}"
            ) from error

    async def _check_not_replaced(self) -> None:
        topics = Topics.of(self._wire.application_name, self._settings)
        last = await read_published(topics, self._settings)
        # What was there when we began is of whoever relayed before us; until that is known a record
        # of somebody else's tells nothing.
        is_news = self._began_with and last not in self._began_with
        if last and last.instance != self._instance and is_news:
            raise ReplacedError(
                "Another relay for this application has taken over. There is one at a time."
            )
        now = anyio.current_time()
        self._epochs_lost.append(now)
        often = len(self._epochs_lost) == REPLACED_OFTEN
        if often and now - self._epochs_lost[0] < REPLACED_SECONDS:
            raise ReplacedError(f"{self._namesake[0].upper()}{self._namesake[1:]}.")

    @property
    def _namesake(self) -> str:
        """Who else may end an epoch, if no other relay of the application does."""
        name = transactional_id(self._wire.application_name, self._settings)
        return (
            f"another relay uses the same transactional ID {name!r}, and publishes to other "
            "topics: give this application a KAFKA_GROUP_PREFIX of its own"
        )

    async def _publish_what_comes(self, progressed: Callable[[], None]) -> None:
        topic = Topics.of(self._wire.application_name, self._settings).events
        async with (
            self._turn(),
            Publisher.connected(self._wire, self._settings, self._instance) as publisher,
        ):
            position = self.position = await self._position(publisher)
            progressed()
            linger = Linger(self._outbox.limit)
            async with (
                self._checking_tails(publisher),
                prefetching(self._outbox.batches(position)) as read,
                aclosing(linger.batches(read)) as gathered,
                prefetching(self._encoded(publisher, gathered)) as batches,
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

    async def _position(self, publisher: Publisher) -> int:
        """Return the position to go on from, once it is known what Kafka and the outbox have."""
        last, tails = publisher.last, publisher.tails
        self._began_with = [last]
        ends = [tail.link for tail in tails]
        await check_write_model(self._outbox, self._wire.application_name, last, ends)
        position = position_to_go_on(last, tails)
        # If the position record is gone, too, there are still the tails, and what we knew before.
        was = max(
            last.position if last else 0, self.position, *(tail.link.position for tail in tails)
        )
        if position < was:
            self._metrics.lost(was - position)
            logger.warning(
                "Kafka has lost events that were published up to position %d: "
                "what is missing after position %d is published again",
                was,
                position,
            )
        logger.info("publishing after position %d", position)
        return position

    @asynccontextmanager
    async def _checking_tails(self, publisher: Publisher) -> AsyncIterator[None]:
        async def check() -> None:
            while True:
                await anyio.sleep(self._check)
                await publisher.check_tails()

        async with anyio.create_task_group() as checking:
            checking.start_soon(check)
            yield
            checking.cancel_scope.cancel()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._outbox.turn():
            self.publishing = True
            try:
                yield
            finally:
                self.publishing = False

    async def _encoded(
        self, publisher: Publisher, gathered: AsyncIterator[Sequence[Notification]]
    ) -> AsyncGenerator[tuple[Batch, Sequence[TraceHeaders]], None]:
        async for notifications in gathered:
            records = map(self._wire.to_record, notifications)
            batch = await publisher.batch(records, notifications[-1].id)
            yield batch, traces_of(notifications)


def _refusal_of_epoch(error: BaseException | None) -> BaseException | None:
    """Return what Kafka has said of an epoch that has ended, if that is behind an error.

    aiokafka puts what it does not expect behind an error that says no more than "unexpected".
    """
    while error and not isinstance(error, EPOCH_LOST):
        error = error.__cause__
    return error
