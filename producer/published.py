"""The published language of each application: the event types that its topic may carry."""

from __future__ import annotations

from typing import Any

from eventsourcing.application import Application
from eventsourcing.utils import get_topic

from eventsourcing_kafka.producer import contentmanagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, PageLogged, Slug
from eventsourcing_kafka.producer.importer.record import GitImport
from eventsourcing_kafka.producer.wire import EventTypes
from eventsourcing_kafka.producer.wire.discovery import event_types_of

CONTENT_MANAGEMENT = EventTypes.of(Page, Slug, PageLogged, GitImport)

# What is recorded in an application by others is not found in its own code.
_DECLARED = {
    f"{contentmanagement.__name__}.application:ContentManagement": CONTENT_MANAGEMENT,
}


def language_of(application_class: type[Application[Any]]) -> EventTypes:
    """Return the event types that an application publishes: declared here, or found in its code."""
    return _DECLARED.get(get_topic(application_class)) or event_types_of(application_class)
