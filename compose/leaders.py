"""The applications that are followed, for whoever looks into their write models."""

from __future__ import annotations

from eventsourcing_kafka.consumer.followers import Followers
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.runtime.applications import (
    AnyApplication,
    application_named,
    known_by_name,
)
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.pipeline import Pipeline

Leader = type[AnyApplication]


class UnknownApplicationError(SettingsError):
    """Nothing says where the application is that a view follows."""

    def __init__(self, view: View) -> None:
        super().__init__(
            f"{view.name} follows {view.application_name}, and does not say where that is: "
            'View(..., application_topic="module:Class").'
        )


def leaders_of(
    followers: Followers, pipeline: Pipeline | None = None, *, every: bool = False
) -> list[Leader]:
    """Return the applications that some followers follow, each once; or `every` one of a pipeline.

    Raises `UnknownApplicationError`, or `SettingsError` for a topic that is no application, or
    one of another name.
    """
    leaders = (
        [application_of(pipeline, name) for name in pipeline.applications]
        if (pipeline and every)
        else []
    )
    leaders += [leader_of(view, pipeline) for view in followers.views]
    leaders += [edge.leader for edge in followers.edges.values()]
    return list({leader.name: leader for leader in leaders}.values())


def leader_of(view: View, pipeline: Pipeline | None = None) -> Leader:
    """Return the application that a view follows. Raises as `leaders_of` does."""
    if pipeline and view.application_name in pipeline.applications:
        return application_of(pipeline, view.application_name)
    if not view.application_topic:
        raise UnknownApplicationError(view)
    leader = application_named(view.application_topic)
    if leader.name != view.application_name:
        raise SettingsError(
            f"{view.name} follows {view.application_name}, and {view.application_topic} is called "
            f"{leader.name}."
        )
    return leader


def application_of(pipeline: Pipeline, name: str) -> Leader:
    """Return an application of a pipeline: its class, or what is known of it by its name.

    Raises `SettingsError` for one that is called otherwise, or is none.
    """
    topic = pipeline.applications[name].at
    if not topic:
        return known_by_name(name)
    found = application_named(topic)
    if found.name != name:
        raise SettingsError(f"{topic} is called {found.name}, and not {name}: call it that here.")
    return found
