"""The audit as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import NamedTuple

from anyio import to_thread

from eventsourcing_kafka.compose.audit.kept import KeptAudit, keep_audit
from eventsourcing_kafka.compose.audit.records import TopicReader
from eventsourcing_kafka.compose.audit.report import Findings, Report, TopicReport, ViewReport
from eventsourcing_kafka.compose.audit.topic import Advance, audit_topic, no_progress
from eventsourcing_kafka.compose.audit.views import ViewAudit
from eventsourcing_kafka.compose.audit.write_model import NotInPostgresError, WriteModel
from eventsourcing_kafka.compose.leaders import leaders_of
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.followers import Followers, followers_of
from eventsourcing_kafka.consumer.hosting.systems import opened
from eventsourcing_kafka.consumer.hosting.threads import in_thread
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.runtime.applications import AnyApplication, open_to_read
from eventsourcing_kafka.producer.runtime.pipeline import Pipeline
from eventsourcing_kafka.producer.wire import wire_of
from eventsourcing_kafka.producer.wire.tagged import domain_events_of

FULL_FINDINGS = 50

NOT_HERE = "as it is not in Postgres"


class Audited(NamedTuple):
    """What is compared."""

    by_leader: Mapping[type[AnyApplication], Sequence[ViewStore]]
    """Leaders, and the stores of those that follow them."""
    out_of_reach: Sequence[ViewReport] = ()
    """Of those that can't be compared."""


async def audit(
    environment: Mapping[str, str],
    names: Collection[str] | None = None,
    *,
    system: str | None = None,
    pipeline: Pipeline | None = None,
    rows: bool = True,
    limit: int = FULL_FINDINGS,
    decrypt: bool = False,
    advance: Advance = no_progress,
    by: str = "",
) -> Report:
    """Compare views of some names, or all that are installed, with their applications and topics.

    With a `system`, MODULE:NAME, it is about its leaders and followers; with a `pipeline`, about
    all of it, if nothing is named. What followers have recorded is never compared, which is said,
    and is no success; without `rows` no rows are wanted. The first `limit` findings are reported in
    full, and all are counted. `decrypt` is as the relay has it. What came of it is kept for others
    if it is said `by` whom it was run. Raises `UnknownViewError`, `UnknownApplicationError`,
    `UnknownEdgeError`, `NotInPostgresError` or `OpenTransactionError`, and what psycopg and
    aiokafka raise when a server is lost: begin again then.
    """
    findings, began = Findings(limit), datetime.now(UTC)
    followers = followers_of(names or (), system, pipeline)
    leaders = leaders_of(followers, pipeline, every=not (names or system))
    decrypted = (
        {name for name, part in pipeline.applications.items() if part.decrypt}
        if (pipeline)
        else set()
    )
    async with _opened_stores(environment, followers, leaders, named=bool(names)) as audited:
        everywhere = {leader.name for leader in leaders} if decrypt else decrypted
        comparison = _Comparison(environment, everywhere, findings, advance, rows)
        reports = [await comparison.of(*leader) for leader in audited.by_leader.items()]
        report = Report(
            [topic for topic, _ in reports],
            [view for _, of_leader in reports for view in of_leader] + [*audited.out_of_reach],
            dict(findings.counts),
            list(findings),
        )
        if by:
            ended = datetime.now(UTC)
            kept = KeptAudit(ended, by, (ended - began).total_seconds(), report)
            await keep_audit(chain.from_iterable(audited.by_leader.values()), kept)
    return report


@asynccontextmanager
async def _opened_stores(
    environment: Mapping[str, str],
    followers: Followers,
    leaders: Sequence[type[AnyApplication]],
    *,
    named: bool,
) -> AsyncIterator[Audited]:
    """Open the stores that are compared. What is hosted is, as far as it is in Postgres.

    Raises `NotInPostgresError` for one that is not, and is asked for by its name.
    """
    views = [ViewStore.of(view, environment) for view in followers.views]
    async with in_thread(opened(followers.edges, environment)) as stores:
        there = [store for store in stores if isinstance(store, ViewStore)]
        local = {store.view.name for store in stores} - {store.view.name for store in there}
        if named and local:
            raise NotInPostgresError(f"{min(local)} is not in Postgres, and can't be audited.")
        yield Audited(
            _by_leader(leaders, [*views, *there]),
            [ViewReport(name, exists=False, omitted=NOT_HERE) for name in sorted(local)],
        )


def _by_leader(
    leaders: Sequence[type[AnyApplication]], stores: Sequence[ViewStore]
) -> Mapping[type[AnyApplication], Sequence[ViewStore]]:
    return {
        leader: [store for store in stores if store.view.application_name == leader.name]
        for leader in leaders
    }


@dataclass(frozen=True)
class _Comparison:
    """Compares what follows from the stored events of a leader with what there is."""

    environment: Mapping[str, str]
    decrypted: Collection[str]
    findings: Findings
    advance: Advance
    rows: bool

    async def of(
        self, leader: type[AnyApplication], stores: Sequence[ViewStore]
    ) -> tuple[TopicReport, Sequence[ViewReport]]:
        """Compare the topic of an application, and the views of it."""
        app = await open_to_read(leader, self.environment)
        try:
            return await self._of(app, stores)
        finally:
            await to_thread.run_sync(app.close)

    async def _of(
        self, app: AnyApplication, stores: Sequence[ViewStore]
    ) -> tuple[TopicReport, Sequence[ViewReport]]:
        settings, told = KafkaSettings.from_env(self.environment), (self.findings, self.advance)
        wire, event_of = wire_of(app, decrypt=app.name in self.decrypted), domain_events_of(app)
        reader = await TopicReader.of(Topics.of(app.name, settings).events, settings)
        async with WriteModel.of(app) as model:
            # The views first: what they are past by now, the relay has published by now.
            audits = [
                ViewAudit(store, model, wire, event_of, reader, *told, rows=self.rows)
                for store in stores
            ]
            reports = [await each.run() for each in audits]
            tracking_audits = [
                tracking_audit for each in audits for tracking_audit in each.tracking_audits
            ]
            topic = await audit_topic(model, wire, settings, reader, tracking_audits, *told)
        return topic, reports
