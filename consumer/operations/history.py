"""What the write model has: the only place where the read side looks into it.

Consumers are given events by Kafka, as long as it has them; what it has deleted they read here. Who
mends one aggregate, or looks at what its events do, reads a few of its events, of a topic that may
have millions; the write model finds them by its ID.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from eventsourcing.persistence import Mapper, Notification

from eventsourcing_kafka.consumer.engine.batch import ConsumedRecord, RawRecord
from eventsourcing_kafka.consumer.engine.protocol import OpenWriteModel
from eventsourcing_kafka.consumer.engine.tracking import NOWHERE
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.runtime.applications import (
    AnyApplication,
    chosen,
    open_to_read,
)
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.wire import Record, WireFormat, wire_of
from eventsourcing_kafka.producer.wire.chain import LARGEST_POSITION, START, Link, identity_of
from eventsourcing_kafka.producer.wire.tagged import TaggedWireFormat

if TYPE_CHECKING:
    from eventsourcing_kafka.producer.outbox import Outbox


LOOK_ON = 1000
"""Of so many positions that come next none may be of an event at or before a time."""


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
    async def of(
        cls, view: View, env: Mapping[str, str], leader: type[AnyApplication] | None = None
    ) -> AsyncIterator[Self]:
        """Open the write model that a view follows, by the library's settings.

        Its class is the `leader`, or what the view says, and need not be known: how it stores tell
        the settings. Raises `SettingsError` if they name no database.
        """
        async with _opened(view, env, leader) as application, cls.within(application, view) as it:
            yield it

    @classmethod
    @asynccontextmanager
    async def within(cls, application: AnyApplication, view: View) -> AsyncIterator[Self]:
        """Read the write model of an application that is open already, and stays so."""
        from eventsourcing_kafka.producer.outbox import outbox_of

        decrypted = not (isinstance(view.mapper, Mapper) and view.mapper.cipher)
        writing = wire_of(application, decrypt=decrypted)
        yield cls(outbox_of(application), writing, view)

    async def lacks(self, links: Collection[Link]) -> Link | None:
        """Return one of some records whose very event is not stored; None if all are."""
        stored = await self._outbox.stored([link.position for link in links if link.position])
        for link in sorted(links):
            found = stored.get(link.position)
            if link != START and (found is None or identity_of(found).decode() != link.identity):
                return link
        return None

    async def records(self, after: int, until: int) -> AsyncGenerator[Sequence[Record], None]:
        """Yield the records of all events after a position, up to another one, as in Kafka.

        Up to there it must be published. Raises `WireError` if the settings are not the relay's.
        """
        async with aclosing(self._outbox.between(after, until)) as batches:
            async for batch in batches:
                yield [self._writing.to_record(each) for each in batch]

    async def of_aggregate(
        self, originator_id: str, applied: Sequence[int]
    ) -> Sequence[ConsumedRecord]:
        """Return the records of an aggregate's events that are `applied`, in their order.

        That is up to the position of its partition, of those of all. The ID may be written in any
        way that the write model knows it by; the records have it as it is stored. Raises
        `NoHistoryError` if there are none, or if the write model ends before the position.
        """
        if isinstance(self._writing, TaggedWireFormat):
            raise NoHistoryError(
                f"{self._writing.application_name} has tagged decisions, which are of no aggregate."
            )
        stored = await self._outbox.of_aggregate(originator_id, LARGEST_POSITION)
        # What it is called decides on its partition, and not how somebody has typed that.
        key = f"{stored[0].originator_id}".encode() if stored else b""
        partition = partition_of(key, len(applied))
        until = applied[partition] if stored else max(applied)
        if await self._outbox.head() < until:
            raise NoHistoryError(
                f"The write model ends before position {until}, which the view has applied: is it "
                "another one, or an older copy?"
            )
        records = [self._writing.to_record(each) for each in stored if each.id <= until]
        if not records:
            raise NoHistoryError(
                f"The write model has nothing of {originator_id[:80]!r} up to position {until}."
            )
        return [self._record(record, partition) for record in records]

    def _record(self, record: Any, partition: int) -> ConsumedRecord:
        headers = [*record.headers, ("ce_predecessor", START.text.encode())]
        raw = RawRecord("", partition, NOWHERE, record.key, record.value, headers)
        return ConsumedRecord.of(raw, self._reading, self._wanted)


async def position_at(
    time: datetime, view: View, env: Mapping[str, str], leader: type[AnyApplication] | None = None
) -> int:
    """Return the position of the last event that was recorded at or before a time.

    Its time is what the event says, which is its `ce_time` in Kafka. Positions are taken to be in
    the order of times, but for the clocks of writers, which may differ by as much as is recorded in
    `LOOK_ON` positions. Raises `NoHistoryError` without such an event, or for a time to come.
    """
    from eventsourcing_kafka.producer.outbox import outbox_of

    if time > datetime.now(UTC):
        raise NoHistoryError(f"{time.isoformat()} is yet to come: nobody knows what there will be.")
    async with _opened(view, env, leader) as application:
        times = _Times(outbox_of(application), wire_of(application, decrypt=True))
        position = await times.last_until(time)
    if not position:
        raise NoHistoryError(
            f"No event of {view.application_name} says that it was recorded at or before "
            f"{time.isoformat()}."
        )
    return position


class _Times:
    """Finds events of a write model by their times."""

    def __init__(self, outbox: Outbox, wire: WireFormat) -> None:
        self._outbox = outbox
        self._wire = wire

    async def last_until(self, time: datetime) -> int:
        """Return the position of the last event at or before a time; 0 without one."""
        low, high = 0, await self._outbox.head()
        while low < high:
            middle = (low + high) // 2
            found = await self._first(middle, high)
            if found and found[1] <= time:
                low, _ = found
            else:
                high = middle
        while ahead := [at async for at, when in self._after(low, low + LOOK_ON) if when <= time]:
            low = ahead[-1]
        return low

    async def _first(self, after: int, until: int) -> tuple[int, datetime] | None:
        """Return the first event in a range that has a time, and the time."""
        if (first := await self._outbox.first(after)) and (when := self._time_of(first)):
            return (first.id, when) if first.id <= until else None
        async with aclosing(self._after(after, until)) as timed:
            return await anext(timed, None)

    async def _after(self, after: int, until: int) -> AsyncGenerator[tuple[int, datetime], None]:
        async with aclosing(self._outbox.between(after, until)) as batches:
            async for batch in batches:
                for each in batch:
                    if when := self._time_of(each):
                        yield each.id, when

    def _time_of(self, notification: Notification) -> datetime | None:
        said = dict(self._wire.to_record(notification).headers).get("ce_time")
        return datetime.fromisoformat(said.decode()) if said else None


def write_model_of(
    view: View, env: Mapping[str, str], leader: type[AnyApplication] | None = None
) -> OpenWriteModel:
    """Return what opens the write model that a view follows, should Kafka have deleted events."""
    return partial(History.of, view, env, leader)


def write_model_in(application: AnyApplication, view: View) -> OpenWriteModel:
    """Return the same, of an application that is in this process."""
    return partial(History.within, application, view)


@asynccontextmanager
async def _opened(
    view: View, env: Mapping[str, str], leader: type[AnyApplication] | None
) -> AsyncIterator[AnyApplication]:
    application = await open_to_read(leader or _class_of(view, env), env)
    try:
        yield application
    finally:
        application.close()


def _class_of(view: View, env: Mapping[str, str]) -> type[AnyApplication]:
    return chosen(
        view.application_topic or None,
        None if view.application_topic else view.application_name,
        env,
    )
