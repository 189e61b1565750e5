"""The audit as a whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from anyio import to_thread

from compose.audit.records import TopicReader
from compose.audit.report import Findings, Report
from compose.audit.topic import Advance, audit_topic, unwatched
from compose.audit.views import ViewAudit
from compose.audit.write_model import WriteModel
from consumer.store import ViewStore
from consumer.views import view_named, views
from producer.applications import open_application
from producer.contentmanagement.application import ContentManagement
from producer.wire import EventTypes, KafkaSettings, Topics, WireFormat

FULL_FINDINGS = 50


async def audit(
    environment: Mapping[str, str],
    names: Collection[str] | None = None,
    *,
    limit: int = FULL_FINDINGS,
    decrypt: bool = False,
    advance: Advance = unwatched,
) -> Report:
    """Compare the write model, the topic, and the views of some names, or all of them.

    The first `limit` findings are reported in full, and all are counted. `decrypt` is as the
    relay has it. Raises `UnknownViewError`, `NotInPostgresError` or `OpenTransactionError`, and
    what psycopg and aiokafka raise when a server is lost: begin again then.
    """
    stores = [ViewStore.of(view_named(name), environment) for name in names or sorted(views())]
    settings, findings = KafkaSettings.from_env(environment), Findings(limit)
    wiki = await to_thread.run_sync(partial(open_application, ContentManagement, environment))
    try:
        wire = WireFormat(wiki.name, EventTypes(), wiki.mapper, decrypt=decrypt)
        reader = await TopicReader.of(Topics.of(wiki.name, settings).events, settings)
        async with WriteModel.of(wiki) as model:
            # The views first: what they are past by now, the relay has published by now.
            audits = [
                ViewAudit(store, model, wire, reader, findings, advance)
                for store in stores
                if store.view.application_name == wiki.name
            ]
            reports = [await each.run() for each in audits]
            watches = [watch for each in audits for watch in each.watches]
            topic = await audit_topic(model, wire, settings, reader, watches, findings, advance)
    finally:
        await to_thread.run_sync(wiki.close)
    return Report(topic, reports, dict(findings.counts), list(findings))
