"""What a witness says in the end who knows Kafka, Postgres, and nothing of the product."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.history.checking import Verdict, check
from tests.history.entries import History, Journal, Stands
from tests.history.reading import read_topic

MOST = 5
"""Anomalies told of each kind."""


async def depose(
    journal: Journal, servers: str, topics: Iterable[tuple[str, bool]], dsns: dict[str, str]
) -> None:
    """Log what is in topics, each complete or not, and where views stand, by their databases."""
    for topic, complete in topics:
        async for found in read_topic(servers, topic, complete=complete):
            journal.write(found)
    for view, dsn in dsns.items():
        async for stands in _stands(view, dsn):
            journal.write(stands)


async def _stands(view: str, dsn: str) -> AsyncIterator[Stands]:
    statement = sql.SQL("SELECT partition, position FROM {}.tracking").format(sql.Identifier(view))
    connection: psycopg.AsyncConnection[Any]
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        for partition, position in await (await connection.execute(statement)).fetchall():
            yield Stands(view=view, partition=partition, position=position)


def judge(folder: Path) -> Verdict:
    """Read all logs of a folder, and check them."""
    return check(History.read(folder))


def told(verdict: Verdict) -> Iterable[str]:
    """Yield what is to be told of a verdict: what was not compared is no success."""
    for name in verdict.missing:
        yield f"the history has no {name}: they were not compared"
    kinds = dict.fromkeys(anomaly.kind for anomaly in verdict.anomalies)
    for kind in kinds:
        of_kind = [anomaly for anomaly in verdict.anomalies if anomaly.kind is kind]
        yield from map(str, of_kind[:MOST])
        if len(of_kind) > MOST:
            yield f"{kind}: {len(of_kind) - MOST} more"
