"""What the write model has: the only place where the read side looks into it.

Consumers are given events by Kafka alone. Who mends one aggregate, or looks at what its events do,
reads a few of its events, of a topic that may have millions; the write model finds them by its ID.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from eventsourcing.application import Application
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.persistence import Mapper

from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, RawRecord
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.runtime.applications import known_by_name, open_reached
from eventsourcing_kafka.producer.runtime.errors import OperatorError, SettingsError
from eventsourcing_kafka.producer.runtime.plugins import found_at
from eventsourcing_kafka.producer.wire import WireFormat
from eventsourcing_kafka.producer.wire.chain import START

if TYPE_CHECKING:
    from eventsourcing_kafka.producer.outbox import Outbox

NOWHERE = -1
"""The offset of what was read from no topic."""


class NoHistoryError(OperatorError):
    """The write model has not what the view has applied."""


class History:
    """The events of an application, as its view is given them."""

    def __init__(self, outbox: Outbox, writing: WireFormat, view: View) -> None:
        self._outbox = outbox
        self._writing = writing
        self._wanted = view.wanted
        self._reading = view.wire()

    @classmethod
    @asynccontextmanager
    async def of(cls, view: View, env: Mapping[str, str]) -> AsyncIterator[Self]:
        """Open the write model that a view follows, by the library's settings.

        Its class is what the view says, and need not be: how it stores tells the settings. Raises
        `SettingsError` if they name no database.
        """
        from eventsourcing_kafka.producer.outbox import outbox_of

        application = await open_reached(_class_of(view), env)
        try:
            decrypted = not (isinstance(view.mapper, Mapper) and view.mapper.cipher)
            writing = WireFormat.of(application, decrypt=decrypted)
            yield cls(outbox_of(application), writing, view)
        finally:
            application.close()

    async def of_aggregate(
        self, originator_id: str, until: int, partitions: int
    ) -> Sequence[ConsumedRecord]:
        """Return the records of an aggregate's events up to a position, in their order.

        Raises `NoHistoryError` if there are none, or if the write model ends before the position.
        """
        if await self._outbox.head() < until:
            raise NoHistoryError(
                f"The write model ends before position {until}, which the view has applied: is it "
                "another one, or an older copy?"
            )
        stored = await self._outbox.of_aggregate(originator_id, until)
        if not stored:
            raise NoHistoryError(
                f"The write model has nothing of {originator_id[:80]!r} up to position {until}."
            )
        partition = partition_of(originator_id.encode(), partitions)
        return [self._record(self._writing.to_record(each), partition) for each in stored]

    def _record(self, record: Any, partition: int) -> ConsumedRecord:
        headers = [*record.headers, ("ce_predecessor", START.text.encode())]
        raw = RawRecord("", partition, NOWHERE, record.key, record.value, headers)
        return ConsumedRecord.of(raw, self._reading, self._wanted)


def _class_of(view: View) -> type[Application[Any]]:
    if not view.application_topic:
        return known_by_name(view.application_name)
    found = found_at(view.application_topic)
    if isinstance(found, type) and issubclass(found, DCBApplication):
        raise NoHistoryError(
            f"{view.application_name} has tagged decisions, which are of no aggregate."
        )
    if not (isinstance(found, type) and issubclass(found, Application)):
        raise SettingsError(f"{view.application_topic} of {view.name} is no application.")
    return found
