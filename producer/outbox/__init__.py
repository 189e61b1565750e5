"""The notifications of an application after a position, in order, for ever.

`PostgresOutbox` (in `postgres`) reads the library's tables with psycopg's async API, is woken by
NOTIFY, and proves that a hole in the positions is permanent before it passes it. `TracedOutbox` (in
`traced`) is the same with the traces of commands beside their events. `RecorderOutbox` (in
`recorder`) reads any recorder of the library, POPO's or SQLite's, through its own interface.
`SQLAlchemyOutbox` (in `sqlalchemy`) reads the Postgres tables of `eventsourcing_sqlalchemy`. Those
in `tagged` read tagged decisions. All keep the contract of `Outbox`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

from eventsourcing.application import Application
from eventsourcing.dcb.api import DCBRecorder
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.popo import InMemoryDCBRecorder
from eventsourcing.dcb.postgres_tt import PostgresDCBRecorderTT
from eventsourcing.persistence import Notification
from eventsourcing.popo import POPORecorder
from eventsourcing.postgres import PostgresApplicationRecorder
from eventsourcing.sqlite import SQLiteRecorder

from eventsourcing_kafka.producer.outbox.postgres import NoEventsError, PostgresOutbox
from eventsourcing_kafka.producer.outbox.recorder import RecorderOutbox
from eventsourcing_kafka.producer.outbox.sqlalchemy import SQLAlchemyOutbox
from eventsourcing_kafka.producer.outbox.tagged import TaggedPostgresOutbox, TaggedRecorderOutbox
from eventsourcing_kafka.producer.outbox.traced import TracedOutbox, TracedRecorder
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.sqlalchemy import POSTGRES, SQLITE, dialect_of

__all__ = [
    "NoEventsError",
    "Outbox",
    "PostgresOutbox",
    "RecorderOutbox",
    "UnknownRecorderError",
    "outbox_of",
]


class Outbox(Protocol):
    """Reads the notifications of one application."""

    limit: int
    """Of the notifications in one batch."""

    async def head(self) -> int:
        """Return the highest position there is; 0 when there is none."""
        ...

    async def first(self, after: int) -> Notification | None:
        """Return the first notification after a position, if there is one.

        A hole before it may yet be filled: this is for the lag, not for reading on.
        """
        ...

    async def stored(self, positions: Sequence[int]) -> Mapping[int, Notification]:
        """Return the notifications at some positions, by position; those that there are."""
        ...

    def between(self, after: int, until: int) -> AsyncGenerator[Sequence[Notification], None]:
        """Yield what there is after a position, up to another one, in order of position.

        Up to there each hole must be known to be permanent, as it is of what is published.
        """
        ...

    async def of_aggregate(self, originator_id: str, until: int) -> Sequence[Notification]:
        """Return what an aggregate has up to a position, in the order of its versions."""
        ...

    async def owner(self) -> str | None:
        """Return who has the turn to read this outbox; None if nobody has."""
        ...

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait until no other relay reads this outbox, and keep others waiting meanwhile.

        A relay that is killed, or stands still for seconds, loses its turn. Kafka's fencing is
        what makes that safe; taking turns keeps relays from fencing each other off.
        """
        ...

    def batches(self, after: int) -> AsyncGenerator[Sequence[Notification], None]:
        """Yield all notifications with a higher position than `after`, in order of position.

        Full batches while there is a backlog, and then what there is as soon as it is there. An
        empty batch says that there was no more. A position left out is one that no notification
        will ever have.
        """
        ...


class UnknownRecorderError(OperatorError):
    """Nobody knows in which order the positions of a recorder become visible."""

    def __init__(self, recorder: object) -> None:
        super().__init__(
            f"What a {type(recorder).__qualname__} has stored can't be published: nobody knows "
            "whether a lower position can be committed after a higher one, and that event would "
            f"be passed over for ever. If it can't, let its class say so: {PROMISE} = True"
        )


ONE_WRITER = (POPORecorder, SQLiteRecorder)
"""Recorders of the library that have one writer at a time."""

PROMISE = "positions_are_in_commit_order"
"""What a recorder promises by this attribute: whoever sees a position sees all below it that there
will ever be."""


def outbox_of(application: Application[Any] | DCBApplication, *, limit: int = 2000) -> Outbox:
    """Return the outbox for an application's own recorder. A batch has at most `limit` of them.

    Raises `UnknownRecorderError`.
    """
    if isinstance(application, DCBApplication):
        return _of_tagged(application.recorder, limit)
    if isinstance(application.recorder, TracedRecorder):
        return TracedOutbox.of(application.recorder, limit=limit)
    if isinstance(application.recorder, PostgresApplicationRecorder):
        return PostgresOutbox.of(application.recorder, limit=limit)
    if dialect_of(application.recorder) == POSTGRES:
        return SQLAlchemyOutbox.through(cast("Any", application.recorder), limit=limit)
    if _is_in_order(application.recorder):
        return RecorderOutbox(application.recorder, limit=limit)
    raise UnknownRecorderError(application.recorder)


def _is_in_order(recorder: object) -> bool:
    """Tell whether positions become visible in their order."""
    has_one_writer = isinstance(recorder, ONE_WRITER) or dialect_of(recorder) == SQLITE
    return has_one_writer or getattr(recorder, PROMISE, False)


def _of_tagged(recorder: DCBRecorder, limit: int) -> Outbox:
    if isinstance(recorder, PostgresDCBRecorderTT):
        return TaggedPostgresOutbox.of(recorder, limit=limit)
    if isinstance(recorder, InMemoryDCBRecorder) or getattr(recorder, PROMISE, False):
        return TaggedRecorderOutbox(recorder, limit=limit)
    raise UnknownRecorderError(recorder)
