"""What defines a view."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

from eventsourcing.dcb.persistence import DCBMapper
from eventsourcing.persistence import Mapper

from eventsourcing_kafka.consumer.audit import Audit
from eventsourcing_kafka.consumer.unit_of_work import UnitOfWork
from eventsourcing_kafka.producer.wire import EventTypes, WireFormat, reader_of


@dataclass(frozen=True)
class View:
    """What defines a view.

    Wherever it is, commands find it as `module:VIEW`; or by its name, if a distribution that is
    installed has an entry point for it, in the group `eventsourcing_kafka.views`.
    """

    name: str
    """Names its group, its schema, and the prefix of its settings."""
    application_name: str
    """The application whose events it follows."""
    types: EventTypes
    """All event types of that application."""
    wanted: EventTypes
    """Those that its policy applies; others only move the tracking."""
    tables: Sequence[str]
    """The tables that hold its rows. Each has a column `partition`, for the replay of one."""
    create: Sequence[LiteralString]
    """Statements that create them in `{schema}`, with `settings` filled in by their names."""
    unit_of_work: Callable[[str], UnitOfWork]
    """Returns what one batch reads and writes, in the schema given."""
    indexes: Sequence[LiteralString] = ()
    """Statements that create what makes it quick to read. A rebuild runs them last."""
    mapper: Mapper[Any] | DCBMapper[Any] | None = None
    """The application's own, with its key: where the events are encrypted; or of its own making."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What shapes the tables, with defaults: `language` is set by `ORDERS_LANGUAGE`, for one."""
    application_topic: str = ""
    """Where that application is, `module:Class`, for those who look into the write model: audit,
    top, and grants. Who keeps the view does not import it."""
    audit: Audit | None = None
    """Compares its rows with the events; without it they are not compared."""
    aggregate_columns: Mapping[str, str] = field(default_factory=dict)
    """The column of a table that has the aggregate's ID, where each row is of one. With those of
    all tables, or with `subtract`, a single aggregate can be replayed."""
    sent_ahead: bool = False
    """Whether its statements may be sent before earlier ones are answered: one round trip to read,
    one to write and commit, where Postgres is 17 or later. For a unit of work that executes
    statements and fetches rows, without COPY or a look at how many rows were changed: those are
    refused."""
    subtract: Sequence[LiteralString] = ()
    """Statements that take an aggregate, `%(aggregate)s`, out of rows that are of several. They run
    before its own rows go."""
    topic: str = ""
    """`module:VIEW`, if it was found so. Whoever finds it fills it in."""
    system: str = ""
    """`module:NAME` of the system or projection whose follower it is, if it is one."""

    def wire(self) -> WireFormat:
        """Return what reads the records of its application."""
        return reader_of(self.application_name, self.types, self.mapper)

    @property
    def arguments(self) -> str:
        """What names it on a command line."""
        named = self.topic or self.name
        return f"{named} --system {self.system}" if self.system else named
