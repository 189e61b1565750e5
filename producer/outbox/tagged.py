"""Outboxes of applications whose decisions are tagged, and have no aggregate.

In Postgres the table is another one, and all else as for aggregates: positions come from a
sequence, whoever appends holds a writer's lock on the table from before it takes one until it has
ended, and notifies of it. In memory there is one writer at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventsourcing.dcb.api import DCBRecorder
from eventsourcing.persistence import Notification

from eventsourcing_kafka.producer.outbox.postgres import PostgresOutbox
from eventsourcing_kafka.producer.outbox.recorder import Notifications, RecorderOutbox
from eventsourcing_kafka.producer.wire.chain import LARGEST_POSITION
from eventsourcing_kafka.producer.wire.tags import TaggedNotification, stored_as


class TaggedPostgresOutbox(PostgresOutbox):
    """Reads the table of a `PostgresDCBRecorderTT`."""

    columns = ("tags", "type", "data", "id")
    make = staticmethod(stored_as)

    async def of_aggregate(self, originator_id: str, until: int) -> Sequence[Notification]:  # noqa: ARG002
        """Return nothing: there is no aggregate."""
        return []


def notifications_in(recorder: Any) -> Notifications:
    """Return what a recorder of either kind has, in the order of its positions."""
    return TaggedNotifications(recorder) if isinstance(recorder, DCBRecorder) else recorder


class TaggedRecorderOutbox(RecorderOutbox):
    """Reads a recorder of tagged decisions through its own interface, by polling."""

    def __init__(self, recorder: DCBRecorder, *, limit: int = 2000) -> None:
        super().__init__(TaggedNotifications(recorder), limit=limit)


class TaggedNotifications:
    """Such a recorder with the interface of one of notifications, as far as it is needed."""

    def __init__(self, recorder: DCBRecorder) -> None:
        self._recorder = recorder

    def max_notification_id(self) -> int | None:
        """Return the highest position there is."""
        # It copies all that it reads, so it reads nothing.
        return self._recorder.read(after=LARGEST_POSITION).head

    def select_notifications(
        self, start: int, limit: int, *, inclusive_of_start: bool
    ) -> Sequence[TaggedNotification]:
        """Return decisions in the order of their positions."""
        after = start - 1 if inclusive_of_start else start
        return [
            TaggedNotification.of(found.position, found.event)
            for found in self._recorder.read(after=after, limit=limit)
        ]
