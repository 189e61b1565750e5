"""Two generations of a view, held against each other row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.consumer.engine.store import ViewStore

EXAMPLES = 3
"""Rows of each kind that are shown."""

# In the order of the key's columns; none where a table has no primary key.
SELECT_KEY: LiteralString = """
    SELECT attname
      FROM pg_index
      JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
     WHERE indrelid = to_regclass(%s) AND indisprimary
     ORDER BY array_position(indkey::int2[], attnum)
"""

SELECT_COLUMNS: LiteralString = """
    SELECT attname
      FROM pg_attribute
     WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
     ORDER BY attnum
"""

# What is numbered as it comes: serials, and identities. No two generations have the same.
SELECT_NUMBERED: LiteralString = """
    SELECT attname
      FROM pg_attribute
      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
       AND (attidentity <> '' OR pg_get_expr(adbin, adrelid) LIKE 'nextval(%%')
     ORDER BY attnum
"""

# Digests are compared, so that long rows are not held in memory.
BY_KEY: LiteralString = """
    WITH active AS (SELECT {key}, md5(row({columns})::text) AS digest FROM {active}),
         next AS (SELECT {key}, md5(row({columns})::text) AS digest FROM {next}),
         both_ AS (
        SELECT {key}, active.digest AS active_digest, next.digest AS next_digest
          FROM active FULL JOIN next USING ({key}))
"""

COUNT_BY_KEY: LiteralString = """
    SELECT count(*) FILTER (WHERE active_digest = next_digest),
           count(*) FILTER (WHERE active_digest <> next_digest),
           count(*) FILTER (WHERE next_digest IS NULL),
           count(*) FILTER (WHERE active_digest IS NULL)
      FROM both_
"""

SELECT_EXAMPLES: LiteralString = """
    SELECT to_jsonb(row_key)
      FROM (SELECT {key} FROM both_ WHERE active_digest IS DISTINCT FROM next_digest
             ORDER BY active_digest IS NULL, next_digest IS NULL, {key}
             LIMIT {limit}) AS row_key
"""

# Where no key tells which row is which, each is there as often as it is there.
COUNT_WITHOUT_KEY: LiteralString = """
    WITH active AS (SELECT md5(row({columns})::text) AS digest FROM {active}),
         next AS (SELECT md5(row({columns})::text) AS digest FROM {next}),
         gone AS (SELECT digest FROM active EXCEPT ALL SELECT digest FROM next),
         come AS (SELECT digest FROM next EXCEPT ALL SELECT digest FROM active)
    SELECT (SELECT count(*) FROM active) - (SELECT count(*) FROM gone), 0,
           (SELECT count(*) FROM gone), (SELECT count(*) FROM come)
"""


class Compared(msgspec.Struct, frozen=True):
    """What comes of comparing one table of two generations."""

    table: str
    equal: int
    different: int
    """Rows of one key with other values."""
    only_active: int
    only_next: int
    examples: Sequence[Mapping[str, Any]] = ()
    """Keys of some rows that are not equal; of none where the table has no key."""
    not_compared: Sequence[str] = ()
    """Columns that only one generation has, or that number the rows as they come."""

    @property
    def is_equal(self) -> bool:
        """Whether no row is different, in what was compared."""
        return not (self.different or self.only_active or self.only_next)


async def compare(
    connection: AsyncConnection[Any], active: ViewStore, following: ViewStore
) -> Sequence[Compared]:
    """Hold the tables of the next generation against those of the active one.

    Both must stay where they are meanwhile. A table that only one of them has counts as empty in
    the other.
    """
    return [await _compared(connection, table, active, following) for table in active.view.tables]


async def _compared(
    connection: AsyncConnection[Any], table: str, active: ViewStore, following: ViewStore
) -> Compared:
    tables = [sql.Identifier(store.schema, table) for store in (active, following)]
    names = [await _names(connection, SELECT_COLUMNS, each) for each in tables]
    if not (names[0] and names[1]):
        return await _counted(connection, table, tables, names)
    numbered = await _names(connection, SELECT_NUMBERED, tables[1])
    common = [name for name in names[0] if name in names[1] and name not in numbered]
    only = [name for name in dict.fromkeys((*names[0], *names[1])) if name not in common]
    key = await _names(connection, SELECT_KEY, tables[1])
    by_key = bool(key) and set(key) <= set(common)
    parts = {
        "active": tables[0],
        "next": tables[1],
        "key": _list(key),
        "columns": _list(common),
        "limit": sql.Literal(EXAMPLES),
    }
    count = BY_KEY + COUNT_BY_KEY if by_key else COUNT_WITHOUT_KEY
    cursor = await connection.execute(sql.SQL(count).format(**parts))
    ((equal, different, only_active, only_next),) = await cursor.fetchall()
    examples: list[Mapping[str, Any]] = []
    if by_key and (different or only_active or only_next):
        cursor = await connection.execute(sql.SQL(BY_KEY + SELECT_EXAMPLES).format(**parts))
        examples = [example for (example,) in await cursor.fetchall()]
    return Compared(table, equal, different, only_active, only_next, examples, only)


async def _counted(
    connection: AsyncConnection[Any],
    table: str,
    tables: Sequence[sql.Identifier],
    names: Sequence[Sequence[str]],
) -> Compared:
    """Count the rows of a table that only one generation has."""
    counts = []
    for each, columns in zip(tables, names, strict=True):
        select = sql.SQL("SELECT count(*) FROM {}").format(each) if columns else "SELECT 0"
        ((count,),) = await (await connection.execute(select)).fetchall()
        counts.append(count)
    only_active, only_next = counts
    return Compared(table, 0, 0, only_active, only_next)


async def _names(
    connection: AsyncConnection[Any], select: LiteralString, table: sql.Identifier
) -> Sequence[str]:
    cursor = await connection.execute(select, [table.as_string()])
    return [name for (name,) in await cursor.fetchall()]


def _list(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
