"""Transactions as KIP-890 has them, which aiokafka does not know: the requests, and who asks so.

A partition takes part in a transaction when something is appended to it: nobody says so before, so
that a transaction takes a request less. The answer to its end brings the epoch of the next one, and
so whatever of it comes late is refused.

https://kafka.apache.org/protocol: Produce 12, EndTxn 5, ApiVersions 3
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

from aiokafka.errors import (
    ConcurrentTransactions,
    CoordinatorLoadInProgressError,
    InvalidProducerEpoch,
)
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.transaction import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnRequest_v0,
    AddPartitionsToTxnResponse_v0,
    EndTxnRequest,
    EndTxnRequest_v0,
    EndTxnResponse_v0,
)
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

TEXT = CompactString("utf-8")
TAGS = ("tags", TaggedFields)
NO_TAGS: dict[int, bytes] = {}

FEATURE, LEVEL = "transaction.version", 2
"""The feature of a cluster that has them, and from which level on."""
FINALIZED_FEATURES = 2
"""The tag of what a cluster may be asked for, in ApiVersions' answer."""
OLDER_FIELDS = 5
"""Of what Produce 7 tells of a partition: 12 tells more behind them."""

PRODUCER_FENCED = 90
OLDER_CODES: dict[int, int] = {
    PRODUCER_FENCED: InvalidProducerEpoch.errno,
    ConcurrentTransactions.errno: CoordinatorLoadInProgressError.errno,
}

Send = Callable[..., Awaitable[Any]]
"""How a client of aiokafka sends: to a node, a request, for which of its connections."""


class _ProduceResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 0, 12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("offset", Int64),
                        ("timestamp", Int64),
                        ("log_start_offset", Int64),
                        (
                            "record_errors",
                            CompactArray(("batch_index", Int32), ("message", TEXT), TAGS),
                        ),
                        ("error_message", TEXT),
                        TAGS,
                    ),
                ),
                TAGS,
            ),
        ),
        ("throttle_time_ms", Int32),
        TAGS,
    )


class _ProduceStruct(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION = 0, 12, True
    RESPONSE_TYPE = _ProduceResponse
    SCHEMA = Schema(
        ("transactional_id", TEXT),
        ("required_acks", Int16),
        ("timeout", Int32),
        (
            "topics",
            CompactArray(
                ("topic", TEXT),
                (
                    "partitions",
                    CompactArray(("partition", Int32), ("messages", CompactBytes), TAGS),
                ),
                TAGS,
            ),
        ),
        TAGS,
    )


class _Produce(Request[_ProduceStruct]):  # type: ignore[misc]
    """Appends, to partitions that take part in the transaction by that."""

    API_KEY = 0

    def __init__(self, older: ProduceRequest) -> None:
        self._older = older

    def build(self, struct: Callable[..., Any]) -> Any:
        """Return what is sent."""
        older = self._older.build(ProduceRequest_v7)
        topics = [
            (topic, [(number, bytes(records), NO_TAGS) for number, records in partitions], NO_TAGS)
            for topic, partitions in older.topics
        ]
        return struct(older.transactional_id, older.required_acks, older.timeout, topics, NO_TAGS)


class _EndTxnResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 26, 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        TAGS,
    )


class _EndTxnStruct(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION = 26, 5, True
    RESPONSE_TYPE = _EndTxnResponse
    SCHEMA = Schema(
        ("transactional_id", TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("transaction_result", Boolean),
        TAGS,
    )


class _EndTxn(Request[_EndTxnStruct]):  # type: ignore[misc]
    """Ends a transaction, and begins the epoch of the next."""

    API_KEY = 26

    def __init__(self, older: EndTxnRequest) -> None:
        self._older = older

    def build(self, struct: Callable[..., Any]) -> Any:
        """Return what is sent."""
        older = self._older.build(EndTxnRequest_v0)
        return struct(
            older.transactional_id,
            older.producer_id,
            older.producer_epoch,
            older.transaction_result,
            NO_TAGS,
        )


class _ApiVersionsResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 18, 3
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "api_versions",
            CompactArray(("api_key", Int16), ("min_version", Int16), ("max_version", Int16), TAGS),
        ),
        ("throttle_time_ms", Int32),
        TAGS,
    )


class _ApiVersionsStruct(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION = 18, 3, True
    RESPONSE_TYPE = _ApiVersionsResponse
    SCHEMA = Schema(("client_software_name", TEXT), ("client_software_version", TEXT), TAGS)

    def parse_response_header(self, read_buffer: Any) -> Any:
        """Return the header, which alone of this answer never has tags."""
        return ResponseHeader_v0.decode(read_buffer)


class _ApiVersions(Request[_ApiVersionsStruct]):  # type: ignore[misc]
    """Asks what a broker, and its cluster, are able to do."""

    API_KEY = 18

    def build(self, struct: Callable[..., Any]) -> Any:
        """Return what is sent."""
        return struct("eventsourcing-kafka", "1", NO_TAGS)


FEATURES = CompactArray(("name", TEXT), ("max_level", Int16), ("min_level", Int16), TAGS)


async def has_newer(send: Send, node: int) -> bool:
    """Ask a broker whether its cluster has these transactions. One that can't be asked has none."""
    try:
        response = await send(node, _ApiVersions())
    except NotImplementedError:  # aiokafka's, where a broker knows no such version of a request.
        return False
    finalized = response.tags.get(FINALIZED_FEATURES)
    if response.error_code or finalized is None:
        return False
    levels = {name: highest for name, highest, *_ in FEATURES.decode(BytesIO(finalized))}
    return bool(levels.get(FEATURE, 0) >= LEVEL)


class NewerTransactions:
    """aiokafka's client as its sender uses it, which asks in the newer way.

    `begin` is told the producer's ID and epoch of the next transaction.
    """

    def __init__(self, client: Any, begin: Callable[[int, int], None]) -> None:
        self._client = client
        self._begin = begin

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        """Send, and return what the older request would be answered."""
        match request:
            case AddPartitionsToTxnRequest():
                return _added(request)
            case ProduceRequest():
                return _older(await self._client.send(node_id, _Produce(request), **options))
            case EndTxnRequest():
                ended = await self._client.send(node_id, _EndTxn(request), **options)
                if not ended.error_code:
                    self._begin(ended.producer_id, ended.producer_epoch)
                return EndTxnResponse_v0(ended.throttle_time_ms, _older_code(ended.error_code))
            case _:
                return await self._client.send(node_id, request, **options)


def _added(request: AddPartitionsToTxnRequest) -> Any:
    """Answer what need not be asked."""
    topics = request.build(AddPartitionsToTxnRequest_v0).topics
    return AddPartitionsToTxnResponse_v0(
        0, [(topic, [(number, 0) for number in partitions]) for topic, partitions in topics]
    )


def _older(response: Any) -> Any:
    def as_older(number: int, code: int, *told: Any) -> tuple[Any, ...]:
        return number, _older_code(code), *told[: OLDER_FIELDS - 2]

    topics = [
        (topic, [as_older(*partition) for partition in partitions])
        for topic, partitions, _ in response.topics
    ]
    return ProduceResponse_v7(topics, response.throttle_time_ms)


def _older_code(code: int) -> int:
    """Return an error as aiokafka's sender knows it.

    Where the transaction before is not marked as ended yet AddPartitionsToTxn is refused in the
    older way, and here it is Produce, which is to be tried again. Who is fenced was told so by the
    epoch.
    """
    return OLDER_CODES.get(code, code)
