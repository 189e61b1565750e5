"""The audit as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from eventsourcing.application import Application

from eventsourcing_kafka.compose.audit.records import TopicReader
from eventsourcing_kafka.compose.audit.report import Findings, Report, TopicReport, ViewReport
from eventsourcing_kafka.compose.audit.topic import Advance, audit_topic, unwatched
from eventsourcing_kafka.compose.audit.views import ViewAudit
from eventsourcing_kafka.compose.audit.write_model import NotInPostgresError, WriteModel
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.hosting.systems import chosen_edges, opened
from eventsourcing_kafka.consumer.hosting.threads import in_thread
from eventsourcing_kafka.consumer.views.registry import view_named, views
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.runtime.applications import open_reached
from eventsourcing_kafka.producer.wire import WireFormat

FULL_FINDINGS = 50

Followed = Mapping[type[Application[Any]], Sequence[ViewStore]]
"""Leaders, and the stores of those that follow them."""


async def audit(
    environment: Mapping[str, str],
    names: Collection[str] | None = None,
    *,
    system: str | None = None,
    limit: int = FULL_FINDINGS,
    decrypt: bool = False,
    advance: Advance = unwatched,
) -> Report:
    """Compare write models, their topics, and the views of some names, or all of them.

    Without a `system`, MODULE:NAME, it is about the wiki and its views. The first `limit` findings
    are reported in full, and all are counted. `decrypt` is as the relay has it. Raises
    `UnknownViewError`, `UnknownEdgeError`, `NotInPostgresError` or `OpenTransactionError`, and
    what psycopg and aiokafka raise when a server is lost: begin again then.
    """
    findings = Findings(limit)
    comparison = _Comparison(environment, decrypt, findings, advance)
    async with _followed(environment, names or (), system) as followed:
        reports = [await comparison.of(*leader) for leader in followed.items()]
    return Report(
        [topic for topic, _ in reports],
        [view for _, of_leader in reports for view in of_leader],
        dict(findings.counts),
        list(findings),
    )


@asynccontextmanager
async def _followed(
    environment: Mapping[str, str], names: Collection[str], system: str | None
) -> AsyncIterator[Followed]:
    """Open the stores that are compared. A system's followers are, as far as they are in Postgres.

    Raises `NotInPostgresError` for one that is not, and is asked for by its name.
    """
    if system is None:
        found = [ViewStore.of(view_named(name), environment) for name in names or sorted(views())]
        yield _by_leader([ContentManagement], found)
        return
    edges = chosen_edges(system, names)
    async with in_thread(opened(edges, environment)) as stores:
        there = [store for store in stores if isinstance(store, ViewStore)]
        if names and len(there) < len(stores):
            local = min({store.view.name for store in stores} - {s.view.name for s in there})
            raise NotInPostgresError(f"{local} is not in Postgres, and can't be audited.")
        yield _by_leader([edge.leader for edge in edges.values()], there)


def _by_leader(leaders: Sequence[type[Application[Any]]], stores: Sequence[ViewStore]) -> Followed:
    return {
        leader: [store for store in stores if store.view.application_name == leader.name]
        for leader in leaders
    }


@dataclass(frozen=True)
class _Comparison:
    """Compares what follows from the stored events of a leader with what there is."""

    environment: Mapping[str, str]
    decrypt: bool
    findings: Findings
    advance: Advance

    async def of(
        self, leader: type[Application[Any]], stores: Sequence[ViewStore]
    ) -> tuple[TopicReport, Sequence[ViewReport]]:
        """Compare the topic of an application, and the views of it."""
        app = await open_reached(leader, self.environment)
        try:
            return await self._of(app, stores)
        finally:
            await to_thread.run_sync(app.close)

    async def _of(
        self, app: Application[Any], stores: Sequence[ViewStore]
    ) -> tuple[TopicReport, Sequence[ViewReport]]:
        settings, told = KafkaSettings.from_env(self.environment), (self.findings, self.advance)
        wire = WireFormat.of(app, decrypt=self.decrypt)
        reader = await TopicReader.of(Topics.of(app.name, settings).events, settings)
        async with WriteModel.of(app) as model:
            # The views first: what they are past by now, the relay has published by now.
            audits = [ViewAudit(store, model, wire, reader, *told) for store in stores]
            reports = [await each.run() for each in audits]
            watches = [watch for each in audits for watch in each.watches]
            topic = await audit_topic(model, wire, settings, reader, watches, *told)
        return topic, reports
