"""Two generations, held against each other where their rows are numbered as they come."""

from collections.abc import Sequence
from dataclasses import replace
from typing import LiteralString

import pytest

from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.comparison import Compared, compare
from eventsourcing_kafka.consumer.views.activity import VIEW as ACTIVITY

NUMBERED: Sequence[LiteralString] = (
    "CREATE TABLE {schema}.lines (id serial PRIMARY KEY, word text, partition integer)",
    "CREATE TABLE {schema}.lines (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word text)",
    "CREATE TABLE {schema}.lines (id bigserial, word text PRIMARY KEY)",
)


async def compared(
    environment: dict[str, str], create: LiteralString, active: str, following: str
) -> Compared:
    store = ViewStore.of(replace(ACTIVITY, tables=["lines"]), environment)
    async with store.connected() as connection, connection.transaction(force_rollback=True):
        for each, words in ((store, active), (store.next_generation(), following)):
            await connection.execute(each.sql("CREATE SCHEMA {schema}"))
            await connection.execute(each.sql(create))
            insert = each.sql("INSERT INTO {schema}.lines (word) SELECT unnest(%s::text[])")
            await connection.execute(insert, [words.split()])
        (found,) = await compare(connection, store, store.next_generation())
        return found


@pytest.mark.parametrize("create", NUMBERED)
async def test_rows_are_equal_that_are_numbered_otherwise(
    schemas: dict[str, str], create: LiteralString
) -> None:
    found = await compared(schemas, create, "red white rose", "rose red white")

    assert found.is_equal
    assert (found.equal, found.not_compared) == (3, ["id"])


@pytest.mark.parametrize("create", NUMBERED)
async def test_rows_that_differ_in_what_is_compared_are_not(
    schemas: dict[str, str], create: LiteralString
) -> None:
    found = await compared(schemas, create, "red white", "white blue")

    assert not found.is_equal
    assert (found.equal, found.only_active, found.only_next) == (1, 1, 1)
