"""The published language of each application: the event types that its topic may carry."""

from __future__ import annotations

from eventsourcing_kafka.producer.runtime.applications import AnyApplication
from eventsourcing_kafka.producer.wire import EventTypes
from eventsourcing_kafka.producer.wire.discovery import event_types_of


def language_of(application_class: type[AnyApplication]) -> EventTypes:
    """Return the event types that an application publishes: declared, or found in its code.

    An application in which others record events declares them all, as its attribute `published`.
    """
    declared: EventTypes | None = getattr(application_class, "published", None)
    return declared or event_types_of(application_class)
