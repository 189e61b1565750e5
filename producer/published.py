"""The published language of each application: the event types that its topic may carry."""

from __future__ import annotations

from producer.contentmanagement.domainmodel import Page, PageLogged, Slug
from producer.importer.record import GitImport
from producer.wire import EventTypes

CONTENT_MANAGEMENT = EventTypes.of(Page, Slug, PageLogged, GitImport)
