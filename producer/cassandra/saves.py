"""The saves of an application in the one order that they have.

A save is a row: its events, and the positions from its first to its last. The next one can only be
at the position behind its last, which is the key of a row that is put if there is none: whatever
clients do at once, or do not come to, there is one row at each such position, and none anywhere
else. So there is one order, without a hole.

Rows are in partitions of `BUCKET` positions. No save has more events than that: so the next save is
in the partition of this one or in the following one, and no partition is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from eventsourcing.persistence import OperationalError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from eventsourcing_kafka.producer.cassandra.datastore import CassandraDatastore, Row

BUCKET = 10_000
"""Positions of a partition: of a kilobyte each, ten megabytes."""

FETCHED_SAVES = 8
"""Rows of one page, which a node has in its memory: each has all events of a save."""

UNKNOWN_SECONDS = 20.0
"""How long to find out what has become of a request that had no answer."""

CREATE = """
    CREATE TABLE IF NOT EXISTS {table} (
        bucket bigint,
        first bigint,
        last bigint,
        save uuid,
        events frozen<list<frozen<tuple<text, bigint, text, blob>>>>,
        PRIMARY KEY ((bucket), first)
    )
"""

PUT = """
    INSERT INTO {table} (bucket, first, last, save, events) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS
"""

SELECT_FROM = """
    SELECT first, last, save, events FROM {table} WHERE bucket = ? AND first >= ?
"""

SELECT_NEWEST = f"{SELECT_FROM} ORDER BY first DESC LIMIT 1"

SELECT_COVERING = """
    SELECT first, last FROM {table} WHERE bucket = ? AND first <= ? ORDER BY first DESC LIMIT 1
"""

SELECT_ANY = "SELECT first FROM {table} WHERE bucket = ? LIMIT 1"

Stored = tuple[str, int, str, bytes]
"""An event: the ID of its aggregate, its version, its topic and its state."""


class Save(NamedTuple):
    """One save: where it is, which it is, and its events."""

    first: int
    last: int
    save: UUID | None
    events: Sequence[Stored]

    @property
    def next(self) -> int:
        """Where the next one is, if there is one."""
        return self.last + 1


NONE = Save(1, 0, None, ())
"""What is before the first."""


def bucket_of(position: int) -> int:
    """Return the partition of a save whose first position this is."""
    return (position - 1) // BUCKET


class Saves:
    """Reads them, and puts one behind the last."""

    def __init__(self, datastore: CassandraDatastore, table: str) -> None:
        self._datastore = datastore
        self._table = table
        self._newest: Save | None = None
        self._end_read = 1
        """Where a save begins that follows what was read last."""

    def create(self) -> None:
        """Create the table."""
        self._datastore.create(CREATE.format(table=self._table))

    def newest(self) -> Save:
        """Return the newest save there is; `NONE` if there is none."""
        found = self._newest or self._newest_in(self._last_bucket(), 1) or NONE
        while later := self._newest_in(bucket_of(found.next), found.next):
            found = later
        self._newest = found
        return found

    def known(self) -> Save:
        """Return the newest save as it was known last: there may be newer ones."""
        return self._newest or self.newest()

    def put(self, first: int, save: UUID, events: Sequence[Stored]) -> Save:
        """Put a save at a position, and return what is there then: this one, or another.

        A request without an answer is made again, at this position and no other: only so it is
        known what has become of it. Raises the library's `OperationalError` if it stays unknown:
        the save may be recorded, now or later.
        """
        asking = Retrying(
            retry=retry_if_exception_type(OperationalError),
            stop=stop_after_delay(UNKNOWN_SECONDS),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            reraise=True,
        )
        own = Save(first, first + len(events) - 1, save, events)
        row = (bucket_of(first), *own)
        try:
            found = asking(self._datastore.one, PUT.format(table=self._table), *row)
        except OperationalError as error:
            raise OperationalError(
                f"It is not known whether the events are recorded, or will be: look, before they "
                f"are tried again. {error}"
            ) from error
        assert found is not None  # noqa: S101 - such a request is answered by a row
        there = own if found["[applied]"] else _save(found)
        self._newest = there
        return there

    def since(self, position: int) -> Iterator[Save]:
        """Yield the saves from the one with a position on, and pass over none.

        A row that does not begin where the one before has ended is not yielded: what is between is
        there, and this read has missed it.
        """
        at = self._beginning(position)
        bucket = bucket_of(at) - 1
        while bucket < bucket_of(at):
            bucket = bucket_of(at)
            for row in self._rows(SELECT_FROM, bucket, at):
                if row["first"] != at:
                    return
                found = _save(row)
                at = self._end_read = found.next
                yield found

    def _beginning(self, position: int) -> int:
        """Return where the save begins that has a position, or would have it."""
        if position in {1, self._end_read}:
            return position
        for bucket in (bucket_of(position), bucket_of(position) - 1):
            row = self._one(SELECT_COVERING, bucket, position)
            if row:
                return int(row["first"] if row["last"] >= position else row["last"] + 1)
        return position

    def _newest_in(self, bucket: int, first: int) -> Save | None:
        row = self._one(SELECT_NEWEST, bucket, first)
        return _save(row) if row else None

    def _last_bucket(self) -> int:
        """Return the last partition that has any: there is none without between."""
        last, step = 0, 1
        while self._one(SELECT_ANY, last + step):
            last, step = last + step, step * 2
        while step > 1:
            step //= 2
            if self._one(SELECT_ANY, last + step):
                last += step
        return last

    def _one(self, statement: str, *parameters: int) -> Row | None:
        return self._datastore.one(statement.format(table=self._table), *parameters)

    def _rows(self, statement: str, *parameters: int) -> Iterator[Row]:
        statement = statement.format(table=self._table)
        return self._datastore.rows(statement, *parameters, page=FETCHED_SAVES)


def _save(row: Row) -> Save:
    return Save(row["first"], row["last"], row["save"], row["events"])
