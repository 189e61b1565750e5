"""Comparing the rows of a view with what the events of the write model should have made of them.

A folder of a view brings its audit as `AUDIT`: a function that is given the events up to the
tracked positions, aggregate by aggregate in the order of their IDs, works out the rows that must
follow from them, and holds them against those that are there. Both come in the order of one key
and go past each other, so that no more than a few rows are in memory.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Generic, LiteralString, NamedTuple, Protocol, TypeVar
from uuid import UUID

from psycopg import AsyncConnection, AsyncServerCursor, sql

from eventsourcing_kafka.producer.runtime.postgres import server_cursor

FETCHED_ROWS = 500
LONGEST_VALUE = 60
"""Characters of a value in a text for people."""


class Disposition(StrEnum):
    """What the view says that it did with an event."""

    APPLIED = "applied"
    PARKED = "parked"
    UNSURE = "unsure"
    """It was dropped or skipped. A later replay may have applied it all the same."""


class AuditedEvent(NamedTuple):
    """One event of the write model that the tracking of the view is past."""

    event: Any
    partition: int
    disposition: Disposition


class AggregateHistory(NamedTuple):
    """The events of one aggregate, in their order. They are read as they are asked for.

    Of tagged decisions, which have none, it is those with one key: a tag, or the name of the
    application.
    """

    originator_id: Any
    partition: int
    events: AsyncIterator[AuditedEvent]


class RowFault(StrEnum):
    """What can be wrong with a row."""

    MISSING = "missing"
    SURPLUS = "surplus"
    ALTERED = "altered"


class Difference(NamedTuple):
    """A row that is not as it must be."""

    fault: RowFault
    table: str
    originator_id: UUID | str | None
    """The aggregate that the row is about, if it is about one."""
    what: str


class AuditedRow(Protocol):
    """A named tuple of the columns that are compared, with what orders the rows."""

    @property
    def key(self) -> Any:
        """Return what no two rows share, and what they are ordered by."""

    @property
    def name(self) -> str:
        """Return what to call the row."""

    @property
    def originator_id(self) -> UUID | str | None:
        """Return the aggregate that the row is about, if it is about one."""

    def _asdict(self) -> dict[str, Any]: ...


Row = TypeVar("Row", bound=AuditedRow)


class Rows(Generic[Row]):
    """The rows of one table, going past in the order of their keys."""

    def __init__(
        self,
        table: str,
        row: type[Row],
        cursor: AsyncServerCursor[Any],
        found: Callable[[Difference], None],
    ) -> None:
        self.compared = 0
        self._table = table
        self._row = row
        self._cursor = cursor
        self._found = found
        self._fetched: deque[Row] = deque()

    async def expect(self, key: Any, *acceptable: Row | None) -> Row | None:
        """Compare the row of a key with those that it may be, the likeliest first; None is no row.

        Keys must come in ascending order: rows that are passed over are found to be surplus.
        Returns the row that is there.
        """
        await self._pass_over(key)
        row = await self._next()
        if row is None or row.key != key:
            if None not in acceptable:
                self._tell(RowFault.MISSING, acceptable[0], "it is not there")
            return None
        self._fetched.popleft()
        self.compared += 1
        if row not in acceptable:
            self._tell_differences(row, acceptable[0])
        return row

    async def let_pass(self, key: Any) -> None:
        """Do not compare the row of a key: it may be anything."""
        await self._pass_over(key)
        if (row := await self._next()) and row.key == key:
            self._fetched.popleft()

    async def expect_no_more(self) -> None:
        """Find whatever is left to be surplus."""
        while row := await self._next():
            self._tell_surplus(row)

    async def _pass_over(self, key: Any) -> None:
        while (row := await self._next()) and row.key < key:
            self._tell_surplus(row)

    async def _next(self) -> Row | None:
        if not self._fetched:
            fetched = await self._cursor.fetchmany(FETCHED_ROWS)
            self._fetched.extend(self._row(*row) for row in fetched)
        return self._fetched[0] if self._fetched else None

    def _tell_surplus(self, row: Row) -> None:
        self._fetched.popleft()
        self.compared += 1
        self._tell(RowFault.SURPLUS, row, "no event made it, or it is there twice")

    def _tell_differences(self, row: Row, expected: Row | None) -> None:
        if expected is None:
            self._tell(RowFault.SURPLUS, row, "no event that is applied made it")
            return
        pairs = zip(row._asdict().items(), expected._asdict().values(), strict=True)
        differing = [
            f"{name} is {_short(value)}, not {_short(wanted)}"
            for (name, value), wanted in pairs
            if value != wanted
        ]
        self._tell(RowFault.ALTERED, expected, "; ".join(differing))

    def _tell(self, fault: RowFault, row: Row | None, what: str) -> None:
        assert row is not None  # noqa: S101 - there is one to tell of
        self._found(Difference(fault, self._table, row.originator_id, f"{row.name}: {what}"))


class Comparison:
    """Compares the tables of one generation of a view, in the snapshot of one transaction.

    `compared` counts rows by table; differences are told to `found`.
    """

    def __init__(
        self, connection: AsyncConnection[Any], schema: str, found: Callable[[Difference], None]
    ) -> None:
        self.compared: Counter[str] = Counter()
        self.found = found
        self._connection = connection
        self._schema = schema

    @asynccontextmanager
    async def table(
        self, name: str, row: type[Row], statement: LiteralString
    ) -> AsyncIterator[Rows[Row]]:
        """Have the rows of a table go past while the body says which it expects, and no more.

        `statement` selects the fields of `row` in the order of its key.
        """
        async with server_cursor(self._connection, f"audit_{name}") as cursor:
            await cursor.execute(sql.SQL(statement).format(schema=sql.Identifier(self._schema)))
            rows = Rows(name, row, cursor, self.found)
            yield rows
            await rows.expect_no_more()
            self.compared[name] = rows.compared


Audit = Callable[[Comparison, AsyncIterator[AggregateHistory]], Awaitable[None]]
"""Compares all rows of a view with what follows from the events."""


def _short(value: Any) -> str:
    text = value.hex()[:12] if isinstance(value, bytes) else repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
