"""The views there are: those that installed distributions bring, and any that is named by a topic.

A distribution brings a view by an entry point of the group `eventsourcing_kafka.views`, with the
view's own name. One that is not installed is named `module:VIEW`. Nothing else is ever imported.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.plugins import brought, distribution, found_at

GROUP = "eventsourcing_kafka.views"


class UnknownViewError(SettingsError):
    """No view has this name."""


class NoViewError(SettingsError):
    """What has been named is no view, or can't be used as one."""


def view_names() -> list[str]:
    """Return the names of the views that are installed. None of them is imported."""
    return sorted(brought(GROUP))


def view_named(name: str) -> View:
    """Return the view that is installed under a name, or that a topic `module:VIEW` leads to.

    Raises `UnknownViewError` with the names there are, `NoViewError`, or the library's
    `TopicError`.
    """
    return _view_of_topic(name) if ":" in name else _installed_view(name)


def views_named(names: Collection[str] = ()) -> list[View]:
    """Return the views of some names, each once; without names, all that are installed.

    Raises what `view_named` raises, and `NoViewError` if two of them are called the same.
    """
    views: dict[str, View] = {}
    for name in dict.fromkeys(names) or view_names():
        view = view_named(name)
        if replace(views.setdefault(view.name, view), topic=view.topic) != view:
            raise NoViewError(
                f"{views[view.name].arguments} and {view.arguments} are both called "
                f"{view.name!r}, and would share a schema and a group: rename one of them."
            )
    return list(views.values())


def _view_of_topic(topic: str) -> View:
    found = found_at(topic)
    if not isinstance(found, View):
        raise NoViewError(f"{topic} is no View, but a {type(found).__name__}.")
    return replace(found, topic=topic)


def _installed_view(name: str) -> View:
    try:
        point = brought(GROUP)[name]
    except KeyError:
        raise UnknownViewError(
            f"There is no view {name!r}. There are: {', '.join(view_names()) or 'none'}. "
            "One that is not installed is named by where it is: module:VIEW"
        ) from None
    try:
        found = point.load()
    except Exception as error:
        raise NoViewError(
            f"The view {name!r} of {distribution(point)} can't be imported: {error!r}"
        ) from error
    if not isinstance(found, View) or found.name != name:
        raise NoViewError(
            f"{point.value}, of {distribution(point)}, has to be the View of the name {name!r}."
        )
    return found
