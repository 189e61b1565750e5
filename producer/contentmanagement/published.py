"""The published language of the wiki: the event types that its topic may carry."""

from __future__ import annotations

from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, PageLogged, Slug
from eventsourcing_kafka.producer.importer.record import GitImport
from eventsourcing_kafka.producer.wire import EventTypes

# What imports record in a wiki is not found in its own code.
EVENT_TYPES = EventTypes.of(Page, Slug, PageLogged, GitImport)
