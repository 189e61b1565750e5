"""Outboxes of applications that store through SQLAlchemy.

On Postgres a writer locks the table before it takes a position, and notifies of it, as the
library's own do: only the name of the column is another one. On SQLite there is one writer at a
time. Of another database nobody knows in which order its positions become visible.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self

from eventsourcing_kafka.producer.outbox.postgres import PostgresOutbox
from eventsourcing_kafka.producer.runtime.postgres import connect_arguments

if TYPE_CHECKING:
    from eventsourcing_sqlalchemy.recorders import SQLAlchemyApplicationRecorder


class SQLAlchemyOutbox(PostgresOutbox):
    """Reads the table of a `SQLAlchemyApplicationRecorder` in Postgres.

    It connects to what the engine's URL names, by itself: a connection that the application lets
    a function make, or that its session has open, is not used.
    """

    columns = (*PostgresOutbox.columns[:-1], "id")

    @classmethod
    def through(cls, recorder: SQLAlchemyApplicationRecorder, **options: Any) -> Self:
        """Read the table of a recorder."""
        return cls(
            partial(connect_arguments, recorder.datastore),
            recorder.schema_name,
            recorder.events_table_name,
            recorder.channel_name,
            **options,
        )
