"""Compares every page of the write model with the search view: the audit of that view alone."""

from __future__ import annotations

from collections.abc import Callable

from eventsourcing_kafka.compose.audit.records import TopicReader
from eventsourcing_kafka.compose.audit.report import Findings
from eventsourcing_kafka.compose.audit.views import ViewAudit
from eventsourcing_kafka.compose.audit.write_model import WriteModel
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.wire import WireFormat

MOST_DIFFERENCES = 1000


async def compare_pages(
    wiki: ContentManagement, store: ViewStore, advance: Callable[[int], None] = lambda _: None
) -> tuple[int, list[str]]:
    """Return how many pages are identical, and a line about each difference.

    The pages are compared as of the tracked positions. `advance` is told of progress in events.
    """
    findings, settings, done = Findings(MOST_DIFFERENCES), KafkaSettings.from_env(wiki.env), 0

    def step(_what: str, reached: int, _total: int) -> None:
        nonlocal done
        advance(reached - done)
        done = reached

    wire = WireFormat.of(wiki)
    reader = await TopicReader.of(Topics.of(wiki.name, settings).events, settings)
    async with WriteModel.of(wiki) as model:
        report = await ViewAudit(store, model, wire, reader, findings, step).run()
    differences = [f"{finding.aggregate}: {finding.what}" for finding in findings]
    return report.rows.get("pages", 0) - len(differences), differences
