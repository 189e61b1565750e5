"""The last audit, kept beside each view that it was about: whoever ran it, others see it.

It is a row of the view's own schema, so it takes no right but that of who keeps the view, and goes
with the generation that it was about. Where the role may not write, the audit is none the worse.
"""

from __future__ import annotations

import getpass
import logging
import socket
from collections.abc import Iterable
from datetime import datetime
from typing import LiteralString

import msgspec
from psycopg import errors

from eventsourcing_kafka.compose.audit.report import Report
from eventsourcing_kafka.consumer.engine.store import NOT_THERE, ViewStore

logger = logging.getLogger(__name__)

MOST_FINDINGS = 50
"""So many are kept in full; all are counted."""

TABLE: LiteralString = "audited"

LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtext(%s))"

# As text: what is found in a foreign record may hold what jsonb does not take.
CREATE_AUDITED: LiteralString = """
    CREATE TABLE IF NOT EXISTS {schema}.audited (
        application text PRIMARY KEY,
        audited_at timestamptz NOT NULL,
        audited_by text NOT NULL,
        seconds double precision NOT NULL,
        report text NOT NULL
    )
"""

UPSERT_AUDITED: LiteralString = """
    INSERT INTO {schema}.audited (application, audited_at, audited_by, seconds, report)
    VALUES (%(application)s, %(at)s, %(by)s, %(seconds)s, %(report)s)
        ON CONFLICT (application) DO UPDATE
       SET audited_at = excluded.audited_at, audited_by = excluded.audited_by,
           seconds = excluded.seconds, report = excluded.report
"""

SELECT_AUDITED: LiteralString = """
    SELECT audited_at, audited_by, seconds, report
      FROM {schema}.audited
     WHERE application = %s
"""

MAY_NOT_WRITE = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)
NOTHING_TO_READ = (*NOT_THERE, errors.InsufficientPrivilege)


class KeptAudit(msgspec.Struct, frozen=True):
    """An audit that has come to its end."""

    at: datetime
    by: str
    seconds: float
    report: Report


def whoever_runs() -> str:
    """Return who runs this process, and where."""
    return f"{getpass.getuser()} on {socket.gethostname()}"


async def keep_audit(stores: Iterable[ViewStore], audit: KeptAudit) -> None:
    """Keep an audit beside each of the views that are there, where our role may."""
    short = msgspec.structs.replace(audit.report, findings=audit.report.findings[:MOST_FINDINGS])
    row = {
        "at": audit.at,
        "by": audit.by,
        "seconds": audit.seconds,
        "report": msgspec.json.encode(short).decode(),
    }
    for store in stores:
        try:
            await _keep(store, row)
        except MAY_NOT_WRITE:
            logger.info("the audit is not kept in %s: the role may not write", store.schema)


async def _keep(store: ViewStore, row: dict[str, object]) -> None:
    async with store.connected() as connection:
        if not await store.exists(connection):
            return
        async with connection.transaction():
            # Two that end at the same time would both make the table.
            await connection.execute(LOCK, [f"{TABLE} {store.schema}"])
            await connection.execute(store.sql(CREATE_AUDITED))
            application = {"application": store.view.application_name}
            await connection.execute(store.sql(UPSERT_AUDITED), row | application)


async def last_audit(stores: Iterable[ViewStore]) -> KeptAudit | None:
    """Return the latest audit that is kept beside one of the views; None if there is none."""
    found = [kept for store in stores if (kept := await _read(store))]
    return max(found, key=lambda kept: kept.at, default=None)


async def _read(store: ViewStore) -> KeptAudit | None:
    async with store.connected() as connection:
        try:
            cursor = await connection.execute(
                store.sql(SELECT_AUDITED), [store.view.application_name]
            )
        except NOTHING_TO_READ:
            return None
        row = await cursor.fetchone()
    if row is None:
        return None
    at, by, seconds, report = row
    return KeptAudit(at, by, seconds, msgspec.json.decode(report, type=Report))
