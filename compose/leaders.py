"""The applications that views follow, for whoever looks into their write models."""

from __future__ import annotations

from collections.abc import Collection

from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.runtime.applications import AnyApplication, application_named
from eventsourcing_kafka.producer.runtime.errors import SettingsError


class UnknownApplicationError(SettingsError):
    """A view does not say where the application is that it follows."""

    def __init__(self, view: View) -> None:
        super().__init__(
            f"{view.name} follows {view.application_name}, and does not say where that is: "
            'View(..., application_topic="module:Class").'
        )


def leaders_of(views: Collection[View]) -> list[type[AnyApplication]]:
    """Return the applications that some views follow, each once.

    Raises `UnknownApplicationError`, or `SettingsError` for a topic that is no application, or
    one of another name.
    """
    return list({leader_of(view): None for view in views})


def leader_of(view: View) -> type[AnyApplication]:
    """Return the application that a view follows. Raises as `leaders_of` does."""
    if not view.application_topic:
        raise UnknownApplicationError(view)
    leader = application_named(view.application_topic)
    if leader.name != view.application_name:
        raise SettingsError(
            f"{view.name} follows {view.application_name}, and {view.application_topic} is called "
            f"{leader.name}."
        )
    return leader
