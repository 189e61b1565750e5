"""All that touches the insides of aiokafka: each function says why there is no public way.

Written against aiokafka 0.14. `tests/wire/test_compat.py` fails when another version no longer has
what is needed here, so that it is found before a broker is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from struct import Struct
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.partitioner import murmur2
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.transaction_manager import PidAndEpoch, TransactionState
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
)
from aiokafka.record.default_records import DefaultRecordBase
from aiokafka.record.util import calc_crc32c

from eventsourcing_kafka.producer.kafka.transactions import NewerTransactions, has_newer

__all__ = [
    "BatchBuilder",
    "CompressingBatch",
    "UnansweredError",
    "ask_once",
    "assigned_partitions",
    "bootstrap_servers",
    "close_connections",
    "enlist_partitions",
    "failing_as_its_transaction",
    "forget_refusals",
    "key_hash",
    "refusals",
    "rejoin",
    "set_transaction_backoff",
    "transact_in_the_newer_way",
    "uncompressed_batch",
]

PRODUCER, CRC = Struct(">qhi"), Struct(">I")
PRODUCER_OFFSET = 43
"""In the header of a record batch: the ID, the epoch and the first sequence number of who sends it.
"""

UNCLOSED = "Unclosed AIOKafkaConnection"
"""What aiokafka has asyncio say of a connection that it lost sight of."""

_refusals: ContextVar[tuple[BaseException, ...]] = ContextVar("_refusals", default=())


def refusals() -> Sequence[BaseException]:
    """Return why brokers could not be reached, as aiokafka has found in this task.

    `start()` raises an error without the reason; aiokafka only logs that, as the last argument of
    a message. So a filter of its logger keeps it.
    """
    return _refusals.get()


def forget_refusals() -> None:
    """Have `refusals` return nothing that was found before now."""
    _refusals.set(())


def _keep_refusal(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple) and record.args:
        match record.args[-1]:
            case BaseException() as error:
                _refusals.set((*_refusals.get(), error))
    return True


def _is_not_unclosed(record: logging.LogRecord) -> bool:
    """Tell whether it is something else than an unclosed connection.

    A client that is cancelled while it first asks for metadata loses sight of the connection that
    it asks on. There is no way to close it, but the garbage collector does, and asyncio complains.
    """
    return not record.getMessage().startswith(UNCLOSED)


logging.getLogger("aiokafka").addFilter(_keep_refusal)
logging.getLogger("asyncio").addFilter(_is_not_unclosed)


async def close_connections(client: Any) -> None:
    """Close the connections of a consumer or an admin client that was to be stopped.

    A consumer's `stop()` leaves them open when it raises, as it does when a fetch backs off, and
    so does an admin client's `close()` when its `start()` has failed. A producer closes its own.
    """
    if hasattr(client, "_client"):
        await client._client.close()  # noqa: SLF001


def bootstrap_servers(client: Any) -> str:
    """Return the addresses that a client was given, of brokers to ask first."""
    inner = getattr(client, "client", None) or client._client  # noqa: SLF001
    given = inner._bootstrap_servers  # noqa: SLF001
    return given if isinstance(given, str) else ",".join(given)


def enlist_partitions(producer: AIOKafkaProducer, partitions: Iterable[TopicPartition]) -> None:
    """Make partitions a part of the producer's transaction, without sending anything to them.

    Aborting it then ends what an earlier transaction has left open there. The public methods
    enlist a partition only when a record is sent to it.
    """
    transaction = producer._txn_manager  # noqa: SLF001
    for partition in partitions:
        transaction.maybe_add_partition_to_txn(partition)


@contextmanager
def failing_as_its_transaction(producer: AIOKafkaProducer) -> Iterator[None]:
    """Have what is asked of a producer fail for the reason for which its transaction has failed.

    aiokafka's sender works in the background. When Kafka refuses a request of its, or does not
    answer, it sets the transaction's state, and the next call is refused for that state: with
    IllegalOperation (`send_batch`) or an AssertionError (`begin_transaction`, `commit_transaction`,
    `abort_transaction`, a `send_batch` that has waited). Why is known to two futures inside.
    """
    try:
        yield
    except Exception as error:
        reason = _failure_of(producer)
        if reason is None or reason is error:
            raise
        raise reason from reason.__cause__  # Which tells more than how it came to light.


def _failure_of(producer: AIOKafkaProducer) -> BaseException | None:
    """Return why a producer's transaction can only be aborted, or the producer only be closed."""
    transaction: Any = producer._txn_manager  # noqa: SLF001
    if transaction.state not in {TransactionState.ABORTABLE_ERROR, TransactionState.FATAL_ERROR}:
        return None
    waiting: Any = producer._message_accumulator  # noqa: SLF001
    reason: BaseException = waiting._exception or transaction.wait_for_transaction_end().exception()  # noqa: SLF001
    return reason


def set_transaction_backoff(seconds: float) -> None:
    """Set how soon a refused beginning of a transaction is tried again, by all producers.

    Kafka has ended a transaction a few milliseconds after it says so, and refuses the next one
    until then. aiokafka waits for 20 ms, as a constant of a module and not as a setting: that
    would be most of what a transaction takes.
    """
    sender.BACKOFF_OVERRIDE = seconds


def uncompressed_batch(size: int) -> BatchBuilder:
    """Return a builder of a record batch of so many bytes that is not compressed when it is sent.

    `create_batch()` compresses as the producer is set to, whatever the batch is like.
    """
    return BatchBuilder(size, 0, is_transactional=True)


class CompressingBatch(BatchBuilder):  # type: ignore[misc]
    """A builder of a record batch that is compressed when it is told to, in whichever thread.

    aiokafka compresses while it makes a request, in the event loop. That takes a fifth of what a
    relay does; another processor can do it meanwhile, as no lock of Python's is held.
    """

    _compressed: bytearray | None = None

    @classmethod
    def of(cls, producer: AIOKafkaProducer, size: int) -> Self:
        """Return one of so many bytes, to be compressed as the producer is set to."""
        kind = producer._message_accumulator._compression_type  # noqa: SLF001
        return cls(size, kind, is_transactional=True)

    def compress(self) -> None:
        """Close it, and have all of it ready but what is yet to be known of its producer."""
        self.close()
        self._compressed = self._builder.build()

    def _set_producer_state(self, producer_id: int, epoch: int, sequence: int) -> None:
        if self._compressed is None:
            super()._set_producer_state(producer_id, epoch, sequence)
            return
        PRODUCER.pack_into(self._compressed, PRODUCER_OFFSET, producer_id, epoch, sequence)
        counted = memoryview(self._compressed)[DefaultRecordBase.ATTRIBUTES_OFFSET :]
        CRC.pack_into(self._compressed, DefaultRecordBase.CRC_OFFSET, calc_crc32c(counted))
        self._buffer = self._compressed


def key_hash(key: bytes) -> int:
    """Return the hash of a key by which Kafka's clients choose a partition: never negative.

    `DefaultPartitioner` is public, and chooses out of a list of the partitions that are available.
    """
    return int(murmur2(key) & 0x7FFFFFFF)


def assigned_partitions(assignment: bytes) -> list[TopicPartition]:
    """Return the partitions of a group's member, out of what the admin client tells of the group.

    It gives the assignment as the bytes that are in Kafka's answer.
    """
    return list(ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions())


def rejoin(consumer: AIOKafkaConsumer) -> None:
    """Have a consumer join its group again, with the member ID that it has.

    A leader that does so shares the partitions again; what anybody else has stays. A consumer that
    is started anew is another member, and for that there is no public method either.
    """
    consumer._coordinator.request_rejoin()  # noqa: SLF001


class UnansweredError(KafkaConnectionError):  # type: ignore[misc]
    """A request of a transaction has got no answer: nobody knows whether Kafka will yet do it."""

    retriable = False


_OF_A_TRANSACTION = {
    each.API_KEY for each in (ProduceRequest, AddPartitionsToTxnRequest, EndTxnRequest)
}


class _AskedOnce:
    """aiokafka's client as its sender uses it; what gets no answer is not asked again."""

    def __init__(self, client: Any, end: Callable[[UnansweredError], None]) -> None:
        self._client = client
        self._end = end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        name = type(request).__name__.lstrip("_")
        try:
            return await self._client.send(node_id, request, **options)
        except KafkaError as error:
            if isinstance(request, InitProducerIdRequest):  # A KafkaError is asked again.
                raise ConnectionError(f"{name} has got no answer: {error!r}") from error
            if request.API_KEY not in _OF_A_TRANSACTION:
                raise
            unanswered = UnansweredError(f"{name} has got no answer: {error!r}")
            self._end(unanswered)
            raise unanswered from error


def ask_once(producer: AIOKafkaProducer) -> None:
    """Have a producer that is not started yet end at a request that gets no answer.

    aiokafka would send the request again on another connection, in the same epoch, while the first
    may still be on its way. An EndTxn that arrives late ends a transaction that has begun
    meanwhile, and half of that is committed (what KIP-890 mends, in clients that have it). With a
    new producer, and so a new epoch, Kafka refuses whatever comes late.
    """
    sender: Any = producer._sender  # noqa: SLF001
    transaction: Any = producer._txn_manager  # noqa: SLF001
    waiting: Any = producer._message_accumulator  # noqa: SLF001

    def end(error: UnansweredError) -> None:
        waiting.fail_all(error)
        if not transaction.is_fatal_error():
            transaction.fatal_error(error)
            transaction.wait_for_transaction_end().exception()  # Whoever waits hears it, or nobody.
        sender.sender_task.cancel()

    sender.client = _AskedOnce(sender.client, end)


async def transact_in_the_newer_way(producer: AIOKafkaProducer) -> bool:
    """Have a producer, which is started, say nothing of partitions before it appends to them.

    Return False, and leave it as it is, where the cluster is older. aiokafka has no requests for
    this, and its producer no way to be given the epoch that each transaction begins with.
    """
    sender: Any = producer._sender  # noqa: SLF001
    transaction: Any = producer._txn_manager  # noqa: SLF001
    if not await has_newer(producer.client.send, producer.client.get_random_node()):
        return False

    def begin(producer_id: int, epoch: int) -> None:
        transaction._pid_and_epoch = PidAndEpoch(producer_id, epoch)  # noqa: SLF001
        transaction._sequence_numbers.clear()  # noqa: SLF001

    sender.client = NewerTransactions(sender.client, begin)
    return True
